"""The options of a step, and what the driver needs to run it."""

from __future__ import annotations

import inspect
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, TypedDict, cast

import msgspec
from msgspec import UNSET

from buquet import _codec
from buquet._context import local_context
from buquet._durations import seconds
from buquet._functions import exception_types
from buquet._models import check_flag, check_text
from buquet._options import submit_options
from buquet._packing import packing
from buquet.errors import ArgumentError, DecodeError, EncodeError, InvalidError, PermanentError, RetryableError
from buquet.workflow._entries import Ask
from buquet.workflow._signatures import Arguments, check_step, step_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from buquet._attempt import ExceptionTypes
    from buquet._context import TaskContext
    from buquet._durations import Duration
    from buquet._models import RetryPolicy
    from buquet._packing import Packing
    from buquet.workflow._entries import Told

OPTIONS = frozenset(
    {
        "at_most_once",
        "backoff",
        "compensate",
        "digest",
        "name",
        "no_retry_on",
        "on_failure",
        "retries",
        "retry_on",
        "timeout",
    }
)


LONGEST_NAME = 128
"""The engine's limit, in characters."""


class StepOptions(TypedDict, total=False):
    """What ``ctx.options`` takes, and ``ctx.step`` beside the arguments of the step."""

    retries: int | None
    """Attempts after the first, 0 or more (default 3; 0 with ``at_most_once``)."""
    backoff: RetryPolicy | Duration | None
    """Wait before the first retry, a duration, or a whole ``RetryPolicy``."""
    retry_on: Any
    """Only these exception types are retried."""
    no_retry_on: Any
    """These exception types fail the step at once."""
    timeout: Duration | None
    """How long one attempt may run, a duration."""
    at_most_once: bool
    """The step is not started again where its worker may have died in the middle of it."""
    compensate: Any
    """Called with the step's result, as a step, if the run fails or is cancelled later."""
    on_failure: Any
    """``"pause"``: when its retries are used up the run is paused, and a resume runs the step again."""
    digest: bool
    """False: a replay does not compare the arguments."""
    name: str | None
    """What the step is called in the journal (default: the function's qualified name)."""


def split(names: frozenset[str], kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], StepOptions]:
    """Part a call's named arguments from options. What the function has a parameter for is an argument."""
    arguments: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for name, value in kwargs.items():
        (options if name in OPTIONS and name not in names else arguments)[name] = value
    return arguments, StepOptions(**options)


def _takes_result(function: Callable[..., Any]) -> Callable[..., Any]:
    try:
        step_signature(function, None).bind((None,), {})
    except ArgumentError as error:
        raise InvalidError(
            f"compensate={function.__qualname__} cannot undo a step: it is called with the step's result alone; {error}"
        ) from error
    return function


class StepCall:
    """One step: its function with its arguments, for the driver to run.

    Any attempt of it may use this, on any thread; where it is pickled to another process, ``arguments`` has to be.
    """

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], given: StepOptions
    ) -> None:
        """Check and encode the call.

        :raises InvalidError: the function can be no step, or an option is wrong.
        :raises ArgumentError: the arguments do not fit the signature.
        :raises EncodeError: an argument cannot be encoded; it is named.
        """
        self.function = check_step(function)
        signature = step_signature(self.function, None)
        arguments, options = split(signature.names, kwargs) if kwargs else ({}, StepOptions())
        options = given | options
        name = options.get("name")
        check_text(name, "name")
        self.name = name or self.function.__qualname__
        if len(self.name) > LONGEST_NAME:
            raise InvalidError(
                f"a step's name may have {LONGEST_NAME} characters, and {self.name!r} has {len(self.name)}; "
                "give it a shorter one with name="
            )
        self._signature = signature if name is None else step_signature(self.function, name)
        self._encoded = Arguments(self._signature, args, arguments)
        self._retry_on: ExceptionTypes | None = None
        self._no_retry_on: ExceptionTypes = ()
        self.compensate: Callable[..., Any] | None = None
        self.options = options
        self.digests = self._encoded.digests() if options.get("digest", True) else None
        self.ask = self._checked(options) if options else Ask(ask="step", args=self.digests)
        self.is_async = inspect.iscoroutinefunction(self.function)
        self.context: Context = copy_context()
        """Context variables as they were where the body asked. The driver calls the function in a copy."""

    def _checked(self, options: StepOptions) -> Ask:
        unknown = options.keys() - OPTIONS
        if unknown:
            raise InvalidError(
                f"a step has no option {', '.join(sorted(unknown))}; there are {', '.join(sorted(OPTIONS))}"
            )
        retry_on = options.get("retry_on")
        self._retry_on = None if retry_on is None else exception_types(retry_on, "retry_on")
        self._no_retry_on = exception_types(options.get("no_retry_on", ()), "no_retry_on")
        if (compensate := options.get("compensate")) is not None:
            self.compensate = _takes_result(check_step(compensate))
        for flag in ("digest", "at_most_once"):
            check_flag(options.get(flag, False), flag)
        if options.get("on_failure") not in (None, "fail", "pause"):
            raise InvalidError(f"on_failure={options.get('on_failure')!r} must be 'fail' or 'pause'")
        ask = Ask(ask="step", args=self.digests)
        retry = submit_options(retries=options.get("retries"), backoff=options.get("backoff")).retry
        if isinstance(retry, dict):
            ask.retry = _whole_policy(retry)
        if (timeout := options.get("timeout")) is not None:
            if (most := seconds(timeout, "timeout")) <= 0:
                raise InvalidError(f"timeout={timeout!r} must be more than 0 seconds")
            ask.timeout_ms = max(1, round(most * 1000))
        if options.get("at_most_once"):
            ask.at_most_once = True
        if options.get("on_failure") == "pause":
            ask.on_failure = "pause"
        return ask

    def arguments(self, context: TaskContext | None = None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments to call ``function`` with, decoded from what was encoded: nothing is shared with the body.

        :param context: for a function that wants a ``TaskContext``.
        """
        return self._encoded.read(context or local_context(self.name))

    @property
    def json(self) -> bytes:
        """The arguments as one JSON object, as they are shown to people."""
        return self._encoded.json

    def encode(self, result: object, packed: Packing | None = None) -> bytes:
        """Encode what the function returned, for the journal; ``packed`` keeps what does not go into JSON.

        :raises EncodeError: it has no JSON form, or not the annotated type; the step fails with it, for good.
        """
        what = f"the result of step {self.name!r}"
        if packed is None:
            return self._encode(result, what)
        with packing(packed):
            return self._encode(result, what)

    def _encode(self, result: object, what: str) -> bytes:
        raw = _codec.encode(result, what)
        try:
            _codec.decode(raw, self._signature.returns, what)
        except DecodeError as error:
            raise EncodeError(str(error)) from error
        return raw

    def decode(self, told: Told) -> Any:
        """The result that the journal has."""
        raw = b"null" if told.output is UNSET else told.output
        return _codec.decode(raw, self._signature.returns, f"the result of step {self.name!r}")

    def compensation(self, told: Told) -> StepCall:
        """The step that undoes this one, of which the journal has this result."""
        return StepCall(cast("Callable[..., Any]", self.compensate), (self.decode(told),), {}, StepOptions())

    def retries(self, error: BaseException) -> bool:
        """Whether another attempt may help after this error, if there are any left."""
        if isinstance(error, RetryableError):
            return True
        if isinstance(error, PermanentError | EncodeError | DecodeError):
            return False
        if isinstance(error, self._no_retry_on):
            return False
        return self._retry_on is None or isinstance(error, self._retry_on)


def _whole_policy(given: Mapping[str, float | str]) -> dict[str, Any]:
    """A retry policy as it stands in the journal: whole, and in milliseconds."""
    return {
        "max_retries": given.get("max_retries", 3),
        "initial_ms": round(1000 * seconds(given.get("initial", 1.0), "initial")),
        "max_ms": round(1000 * seconds(given.get("max", 600.0), "max")),
        "multiplier": given.get("multiplier", 2.0),
        "jitter": given.get("jitter", 0.2),
    }


def input_of(arguments: Arguments) -> Any:
    """The input of a call or child as it stands in the journal."""
    return msgspec.Raw(arguments.json)
