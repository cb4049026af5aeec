"""One attempt of one task: call the handler, and say how it ended in the engine's terms."""

from __future__ import annotations

import inspect
import traceback
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from buquet import _codec
from buquet._current import enter
from buquet._durations import wire_duration, wire_time
from buquet._forked import ForkGuard
from buquet._models import Payload
from buquet.errors import CodecError, DecodeError, EncodeError, PermanentError, RescheduleError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType

    from buquet._context import TaskContext
    from buquet._signature import Arguments
    from buquet._vault import Delivery, Parcel, Vault

Pool: TypeAlias = Literal["thread", "process"]
ExceptionTypes: TypeAlias = tuple[type[BaseException], ...]

MESSAGE_LIMIT = 4 * 1024
TRACEBACK_LIMIT = 16 * 1024
LOGGED_LIMIT = 500
_PACKAGE = str(Path(__file__).parent)


class FailureInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An exception as it is stored."""

    type: str
    message: str
    traceback: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended, as ``worker.settle`` takes it."""

    outcome: str
    id: str = ""
    lease: str = ""
    output: msgspec.Raw | UnsetType = UNSET
    payloads: list[Payload] | UnsetType = UNSET
    error: FailureInfo | UnsetType = UNSET
    retry: bool | UnsetType = UNSET
    delay: float | str | UnsetType = UNSET
    at: str | UnsetType = UNSET
    message: str | UnsetType = UNSET


class InputSignature(Protocol):
    """How a handler's input becomes its arguments."""

    @property
    def returns(self) -> Any:
        """The type of the result."""
        ...

    def bind_input(self, raw: bytes | msgspec.Raw, context: TaskContext) -> Arguments:
        """Read the input."""
        ...


class Handler:
    """A function with all that is needed to run it as a task."""

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        signature: InputSignature,
        *,
        retry_on: ExceptionTypes | None = None,
        no_retry_on: ExceptionTypes = (),
        pool: Pool = "thread",
        schema: bool | dict[str, Any] | None = None,
    ) -> None:
        """Describe the handler of the task type ``name``; ``schema`` says what its worker publishes."""
        self.name = name
        self.function = function
        self.signature = signature
        self.retry_on = retry_on
        self.no_retry_on = no_retry_on
        self.pool: Pool = pool
        self.schema = schema
        self.is_async = inspect.iscoroutinefunction(function)

    def retries(self, error: BaseException) -> bool:
        """Whether another attempt may help."""
        if isinstance(error, RetryableError):
            return True
        if isinstance(error, CodecError):
            return bool(error.may_help) and not isinstance(error, self.no_retry_on)
        if isinstance(error, PermanentError | DecodeError | EncodeError):
            return False
        if isinstance(error, self.no_retry_on):
            return False
        return self.retry_on is None or isinstance(error, self.retry_on)


class Attempt(msgspec.Struct, frozen=True):
    """An outcome, with what the hooks get to see of it."""

    outcome: Outcome
    result: Any = None
    error: BaseException | None = None
    is_last_resort: bool = False
    """Reported in place of an outcome that the engine refused."""


def run_sync(handler: Handler, delivery: Delivery, context: TaskContext) -> Attempt:
    """Call a plain ``def`` handler. Never raises: what it raises is part of the answer."""
    # In a context of its own: the thread goes on to other tasks.
    return copy_context().run(_run_sync, handler, delivery, context)


def _run_sync(handler: Handler, delivery: Delivery, context: TaskContext) -> Attempt:
    enter(context.id)
    try:
        args, kwargs = bind(handler, delivery, context)
        with ForkGuard():
            result = handler.function(*args, **kwargs)
        del args, kwargs  # which may be large
        parcel = pack_result(handler, delivery.vault, result)
        return completed(parcel, result, delivery.vault.send(parcel, context.id))
    except BaseException as error:  # noqa: BLE001 - a handler may raise anything, SystemExit too
        return failed(handler, error)


def bind(handler: Handler, delivery: Delivery, context: TaskContext) -> Arguments:
    """Open a task's input and read it to the handler's arguments. Blocks if the delivery ``is_remote``."""
    return delivery.read(lambda raw: handler.signature.bind_input(raw, context))


def pack_result(handler: Handler, vault: Vault, result: Any) -> Parcel:
    """Encode what a handler returned.

    :raises EncodeError: it has no JSON form.
    """
    what = f"the result of task {handler.name!r}"
    return vault.pack(lambda: _codec.encode(result, what), "result", handler.name)


def completed(parcel: Parcel, result: Any, payloads: list[Payload]) -> Attempt:
    """The attempt gave ``result``, whose payloads are stored."""
    outcome = Outcome(outcome="complete", output=msgspec.Raw(parcel.json), payloads=payloads or UNSET)
    return Attempt(outcome, result=result)


def failed(handler: Handler, error: BaseException) -> Attempt:
    """The attempt raised ``error``. Never raises."""
    try:
        return Attempt(_outcome_of(handler, error), error=error)
    except BaseException as wrong:  # noqa: BLE001 - a delay that is none, say, must not cost the task its outcome
        return Attempt(Outcome(outcome="fail", error=failure(wrong), retry=False), error=wrong)


def _outcome_of(handler: Handler, error: BaseException) -> Outcome:
    if isinstance(error, RescheduleError):
        if error.at is not None:
            return Outcome(outcome="reschedule", at=_time(error.at))
        return Outcome(outcome="reschedule", delay=wire_duration(error.delay, "delay"))
    delay: float | str | UnsetType = UNSET
    if isinstance(error, RetryableError) and error.delay is not None:
        delay = wire_duration(error.delay, "delay")
    return Outcome(outcome="fail", error=failure(error), retry=handler.retries(error), delay=delay)


def failure(error: BaseException) -> FailureInfo:
    """Describe an exception, within limits."""
    return FailureInfo(
        type=_type_name(error),
        message=trim(_message(error), MESSAGE_LIMIT),
        traceback=trim(_traceback(error), TRACEBACK_LIMIT),
    )


def logged(error: BaseException | None, *, hidden: bool) -> str:
    """An exception as it is logged: in one line of sane length; by its type alone if its text is to be kept secret."""
    if error is None:
        return "no error"
    if hidden and not (isinstance(error, CodecError) and error.is_in_plain):
        return (
            f"{_type_name(error)} (its text passed through codecs: read it where they are, with handle.refresh().error)"
        )
    return f"{_type_name(error)}({trim(_message(error), LOGGED_LIMIT)!r})"


def trim(text: str, limit: int) -> str:
    """Shorten a text to ``limit`` bytes of UTF-8, leaving out its middle."""
    encoded = text.encode(errors="backslashreplace")
    if len(encoded) <= limit:
        return encoded.decode()
    mark = f"\n... {len(encoded) - limit} bytes left out ...\n"
    half = (limit - len(mark)) // 2
    head = encoded[:half].decode(errors="ignore")
    return head + mark + encoded[-half:].decode(errors="ignore")


def _time(at: datetime) -> str:
    return wire_time(at, "at")


def _type_name(error: BaseException) -> str:
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ in {"builtins", "buquet.errors"}
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as broken:  # noqa: BLE001 - a broken __str__, even one that calls sys.exit, must not cost the task its outcome
        return f"<no message: {type(error).__qualname__}.__str__ raised {type(broken).__qualname__}>"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, _user_frames(error.__traceback__)))
    except BaseException as broken:  # noqa: BLE001 - as above
        return f"<no traceback: formatting it raised {type(broken).__qualname__}>"


def _user_frames(frames: TracebackType | None) -> TracebackType | None:
    """Leave out buquet's own frames above the handler's first one."""
    first = frames
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        first = first.tb_next
    return first or frames
