"""Schedules declared in code: ``@app.cron``, ``@app.every`` and the same on a worker."""

from __future__ import annotations

import logging
import reprlib
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

import msgspec

from buquet import _codec, _schedule_ops
from buquet._identity import is_same, where
from buquet._options import submit_options
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from buquet._client import Client
    from buquet._context import TaskContext
    from buquet._durations import Duration
    from buquet._schedule_models import CatchUp, Overlap
    from buquet._task import AsyncTaskFunction, TaskFunction

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
AnyTask = TypeVar("AnyTask", bound="TaskFunction[..., Any] | AsyncTaskFunction[..., Any]")

_logger = logging.getLogger("buquet.worker")


def module_of(function: Callable[..., Any]) -> str:
    """Name the module of a function; two programs that are run as scripts are not both ``__main__``."""
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    if function.__module__ != "__main__" or script is None:
        return function.__module__
    spec = getattr(main, "__spec__", None)
    return Path(script).name if spec is None else spec.name


def is_gone(name: str, modules: set[str]) -> bool:
    """Tell whether a module that lay in a package of these is there no more."""
    package, _, inner = name.partition(".")
    if not inner or name in modules or package not in {module.partition(".")[0] for module in modules}:
        return False
    # Looked for as an import would, and nothing is imported: a package of others may do anything when it is.
    path: Sequence[str] | None = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:depth]), path)
        if spec is None:
            return depth > 1  # the package itself is there, or this worker would not be: it came from elsewhere
        path = spec.submodule_search_locations
        if path is None:
            return depth < len(parts)
    return False


class Declarations:
    """The schedules that a piece of code declares."""

    def __init__(self) -> None:
        """Start without any."""
        self._declared: dict[str, tuple[_schedule_ops.Definition, Callable[..., Any]]] = {}

    def add(self, definition: _schedule_ops.Definition, function: Callable[..., Any]) -> None:
        """Take a schedule in; ``function`` is where it is declared.

        :raises InvalidError: another one has that name.
        """
        known = self._declared.get(definition.name)
        # The same function may be declared again, unless it says two different things.
        if known is not None and not (is_same(known[1], function) and known[0].times == definition.times):
            raise InvalidError(
                f"two schedules are named {definition.name!r}: of {where(known[1])} and of {where(function)}; "
                "give one of them another name="
            )
        self._declared[definition.name] = (definition, function)

    def extend(self, other: Declarations) -> None:
        """Take over those of another."""
        self._declared.update(other._declared)

    @property
    def names(self) -> list[str]:
        """The names, in the order of their declaration."""
        return list(self._declared)

    async def sync(self, client: Client, modules: set[str]) -> None:
        """Make the stored schedules what is declared here, and warn of what ``modules`` declare no more.

        :raises InvalidError: the engine refuses one, such as for its expression or its zone; or one has an input,
            which codecs keep secret.
        """
        for definition, _ in self._declared.values():
            definition.check_secrecy(client)
        declared = [(definition, module_of(function)) for definition, function in self._declared.values()]
        synced = await client.call_async(_schedule_ops.sync(declared, modules))
        # A module that was deleted or renamed cannot be asked any more.
        if gone := {name for name in synced.modules if is_gone(name, modules)}:
            first, synced = synced, await client.call_async(_schedule_ops.sync(declared, modules | gone))
            synced = msgspec.structs.replace(synced, created=first.created, changed=first.changed)
        for what, names in (("created", synced.created), ("changed", synced.changed)):
            if names:
                _logger.info("schedules %s: %s", what, ", ".join(names))
        for damaged in synced.corrupt:
            _logger.warning("a schedule is left alone and does not fire: %s", damaged.message)
        for schedule in synced.missing:
            _logger.warning(
                "schedule %r was declared in %s and is so no more; it %s. To be rid of it: buquet schedules delete %s",
                schedule.name,
                schedule.declared_in,
                "still fires" if schedule.enabled else "is disabled",
                schedule.name,
            )


class ScheduleDecorator(Protocol):
    """What ``@app.cron(...)`` is: a task stays what it is, a function becomes one, as with ``@app.task``."""

    # A task can be called too; the overload for tasks is meant to win, and then the one for async functions.
    @overload
    def __call__(self, function: AnyTask, /) -> AnyTask: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def __call__(  # pyright: ignore[reportOverlappingOverload]
        self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], R], /) -> TaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskFunction[P, R]: ...


class ScheduledApp:
    """The decorators of ``Buquet`` that are about schedules."""

    def __init__(self) -> None:
        """Start without schedules."""
        super().__init__()
        self.declarations = Declarations()

    def cron(
        self,
        expression: str,
        /,
        *,
        timezone: str = "UTC",
        name: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        overlap: Overlap = "allow",
        catch_up: CatchUp = "latest",
        catch_up_limit: int | None = None,
        jitter: Duration | None = None,
    ) -> ScheduleDecorator:
        """Submit a task at times of day. Workers see to it; put it on a function or over ``@app.task(...)``.

        A local time that is skipped when clocks are set forward fires at that moment; one that comes twice
        fires the first time. More than one ``cron`` or ``every`` on a task need names of their own.

        :param expression: five fields, such as ``"0 9 * * mon-fri"``, or ``"@daily"`` and its kin.
        :param timezone: the IANA zone that is meant.
        :param name: the schedule's name, 1 to 128 of ``A-Z a-z 0-9 _ . : -`` (default: the task's).
        :param arguments: the function's arguments, by name.
        :param overlap: while the last task has not finished a slot fires all the same (``"allow"``), is left out
            (``"skip"``), or waits for its end (``"wait"``; one at most, further ones are left out).
        :param catch_up: of slots that no worker was there for, none fire, the newest, or all.
        :param catch_up_limit: with ``"all"``, how many at most, the newest: 1 to 1000 (default 100).
        :param jitter: each task may start up to so much later, a duration up to a day.
        :raises InvalidError: an argument is wrong, the name is taken, or the task is another app's. The expression and
            the zone are looked at when a worker starts.
        :raises ArgumentError: the arguments do not fit the function.

        Example::

            @app.cron("0 9 * * mon-fri", timezone="Europe/Berlin")
            def report() -> None: ...

            @app.cron("@hourly", arguments={"path": "cat.png"}, overlap="skip")
            @app.task(retries=5)
            def refresh(path: str) -> None: ...
        """
        times = _schedule_ops.times(cron=expression, timezone=timezone)
        return self._scheduled(
            times, name, arguments, _schedule_ops.policies(overlap, catch_up, catch_up_limit, jitter)
        )

    def every(
        self,
        interval: Duration,
        /,
        *,
        name: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        overlap: Overlap = "allow",
        catch_up: CatchUp = "latest",
        catch_up_limit: int | None = None,
        jitter: Duration | None = None,
    ) -> ScheduleDecorator:
        """Submit a task at intervals, counted from 1970 in UTC; other parameters as of ``cron``.

        :param interval: a duration of 1 s or more: ``"15m"`` is at :00, :15, :30 and :45.

        Example::

            @app.every("15m", overlap="skip")
            async def poll() -> None: ...
        """
        times = _schedule_ops.times(every=interval)
        return self._scheduled(
            times, name, arguments, _schedule_ops.policies(overlap, catch_up, catch_up_limit, jitter)
        )

    def _as_task(self, function: Any) -> Any:
        """Make a task of a function, or make sure of one; ``Buquet`` does."""
        raise NotImplementedError

    def _scheduled(
        self,
        times: _schedule_ops.Times,
        name: str | None,
        arguments: Mapping[str, Any] | None,
        policies: dict[str, Any],
    ) -> Any:
        if arguments is not None and not isinstance(cast("object", arguments), Mapping):
            raise InvalidError(
                f"arguments={reprlib.repr(arguments)} must map the function's parameters to values, "
                'such as {"path": "cat.png"}'
            )

        def decorate(function: Any) -> Any:
            task: Any = self._as_task(function)
            encoded, options = task.encoded(arguments or {})
            definition = _schedule_ops.Definition(
                name=task.name if name is None else name,
                type=task.name,
                input=msgspec.Raw(encoded),
                times=times,
                options=options,
                policies=policies,
            )
            self.declarations.add(definition, task.handler.function)
            return task

        return decorate


class ScheduledWorker:
    """The decorators of ``Worker`` that are about schedules."""

    def __init__(self) -> None:
        """Start without schedules."""
        super().__init__()
        self.declarations = Declarations()

    def cron(
        self,
        expression: str,
        type: str,  # noqa: A002 - the field's name everywhere
        /,
        *,
        timezone: str = "UTC",
        name: str | None = None,
        input: Any = None,  # noqa: A002
        overlap: Overlap = "allow",
        catch_up: CatchUp = "latest",
        catch_up_limit: int | None = None,
        jitter: Duration | None = None,
    ) -> Callable[[F], F]:
        """Handle tasks of a type as ``task`` does, and have one submitted at times of day.

        :param expression: five fields, such as ``"0 9 * * mon-fri"``, or ``"@daily"`` and its kin.
        :param type: the tasks' type.
        :param timezone: the IANA zone that is meant.
        :param name: the schedule's name, 1 to 128 of ``A-Z a-z 0-9 _ . : -`` (default: the type).
        :param input: the tasks' input.

        Other parameters as of ``Buquet.cron``.

        Example::

            @worker.cron("0 9 * * mon-fri", "report", timezone="Europe/Berlin")
            async def report(input): ...
        """
        times = _schedule_ops.times(cron=expression, timezone=timezone)
        return self._scheduled(
            times, type, name, input, _schedule_ops.policies(overlap, catch_up, catch_up_limit, jitter)
        )

    def every(
        self,
        interval: Duration,
        type: str,  # noqa: A002
        /,
        *,
        name: str | None = None,
        input: Any = None,  # noqa: A002
        overlap: Overlap = "allow",
        catch_up: CatchUp = "latest",
        catch_up_limit: int | None = None,
        jitter: Duration | None = None,
    ) -> Callable[[F], F]:
        """Handle tasks of a type as ``task`` does, and have one submitted at intervals, counted from 1970 in UTC.

        :param interval: a duration of 1 s or more.
        :param type: the tasks' type.

        Other parameters as of ``cron``.

        Example::

            @worker.every("15m", "poll")
            async def poll(input): ...
        """
        times = _schedule_ops.times(every=interval)
        return self._scheduled(
            times, type, name, input, _schedule_ops.policies(overlap, catch_up, catch_up_limit, jitter)
        )

    def _handle_with(self, kind: str, function: Callable[..., Any]) -> None:
        """Handle tasks of a type with a function; ``Worker`` does."""
        raise NotImplementedError

    def _scheduled(
        self, times: _schedule_ops.Times, kind: str, name: str | None, value: Any, policies: dict[str, Any]
    ) -> Callable[[F], F]:
        name = kind if name is None else name
        definition = _schedule_ops.Definition(
            name=name,
            type=kind,
            input=msgspec.Raw(_codec.encode(value, f"the input of schedule {name!r}")),
            times=times,
            options=submit_options(),
            policies=policies,
        )

        def decorate(function: F) -> F:
            self._handle_with(kind, function)
            self.declarations.add(definition, function)
            return function

        return decorate
