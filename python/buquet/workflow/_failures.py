"""Exceptions on their way into the journal and back, so that a body gets the same ones live and replayed."""

from __future__ import annotations

import contextlib
import importlib
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import UNSET, UnsetType

from buquet._attempt import MESSAGE_LIMIT, failure, trim
from buquet.errors import StepCancelledError, StepError, StepTimeoutError
from buquet.workflow._entries import ErrorInfo

if TYPE_CHECKING:
    from buquet.workflow._entries import Told

_LIMIT = 15 * 1024
"""The engine cuts errors of more than 16 KiB with their causes."""
_DETAILS = ((8, 8 * 1024), (3, 4 * 1024), (0, 2 * 1024))
"""How many causes of causes are kept, and how many bytes of the traceback: less where that is too much."""
_GROUP = 20
"""So many members of a group."""
_STATE_LIMIT = 4 * 1024
_NOTES = 20
_SHORT = 1024
_TIMEOUTS = frozenset({"CallbackTimeout", "StepTimeout"})


def record(error: BaseException) -> ErrorInfo:
    """Describe an exception for the journal, within limits."""
    for depth, most in _DETAILS:
        info = _record(error, depth, most)
        if len(msgspec.json.encode(info)) <= _LIMIT:
            return info
    text = failure(error)
    return ErrorInfo(
        type=text.type,
        message=trim(text.message, _SHORT),
        traceback=trim(text.traceback or "", _SHORT),
        args=None,
        op=operation_of(error),
    )


def _record(error: BaseException, depth: int, most: int) -> ErrorInfo:
    """Describe an exception; its traceback has those of its causes too."""
    text = failure(error)
    cause, context = error.__cause__, error.__context__
    if error.__suppress_context__:
        context = None
    members = _members(error)
    state = _plain_state(error)
    return ErrorInfo(
        type=text.type,
        message=text.message,
        traceback=trim(text.traceback or "", most) if most else None,
        args=None if state is None or members else _arguments_beside(error, text.message),
        state=state or {},
        notes=[trim(str(note), MESSAGE_LIMIT) for note in _notes(error)[:_NOTES]],
        cause=_record(cause, depth - 1, 0) if cause is not None and depth else None,
        context=_record(context, depth - 1, 0) if context is not None and cause is None and depth else None,
        errors=[_record(each, depth - 1, 0) for each in members[:_GROUP]] if depth else [],
        op=operation_of(error),
    )


def _arguments_beside(error: BaseException, message: str) -> list[Any] | UnsetType | None:
    args = _plain(_arguments(error))
    return UNSET if args == [message] else args


def _arguments(error: BaseException) -> list[Any]:
    """What the exception can be made with again."""
    if isinstance(error, OSError) and error.filename is not None:  # of which args lacks a part
        paths = [error.filename] if error.filename2 is None else [error.filename, None, error.filename2]
        return [error.errno, error.strerror, *paths]
    return list(error.args)


def _members(error: BaseException) -> tuple[BaseException, ...]:
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions
    return ()


def _notes(error: BaseException) -> list[object]:
    notes = getattr(error, "__notes__", [])
    return list(cast("list[object]", notes)) if isinstance(notes, list) else []


def _plain_state(error: BaseException) -> dict[str, Any] | None:
    """Those attributes that JSON brings back as they were; None if they are too many."""
    state: dict[str, Any] = {}
    for name, value in vars(error).items():
        plain = None if name.startswith("__") or name == _OPERATION else _plain([value])
        if plain is not None:
            state[name] = plain[0]
    return state if len(msgspec.json.encode(state)) <= _STATE_LIMIT else None


def _plain(values: list[Any]) -> list[Any] | None:
    """The values, if JSON brings them back as they were."""
    try:
        encoded = msgspec.json.encode(values)
        back: list[Any] = msgspec.json.decode(encoded)
        is_same = len(encoded) <= _STATE_LIMIT and back == values and _kinds(back) == _kinds(values)
    except Exception:  # noqa: BLE001 - values of others may raise anything when they are encoded or compared
        return None
    return back if is_same else None


def _kinds(value: Any) -> Any:
    """What the parts of a value are, since 1 == True == 1.0, and a subclass of text equals text."""
    if type(value) is list:
        return [_kinds(item) for item in cast("list[Any]", value)]
    if type(value) is dict:
        return {_key(key): _kinds(item) for key, item in cast("dict[Any, Any]", value).items()}
    return cast("type[Any]", type(value))


def _key(key: Any) -> tuple[type[Any], Any]:
    return cast("type[Any]", type(key)), key


def rebuild(info: ErrorInfo) -> Exception:
    """Make the exception again; a ``StepError`` with all that is known of it, where it cannot be."""
    error = _same(info) or StepError(info.type, info.message, info.traceback)
    with contextlib.suppress(Exception):  # of a class that takes no notes, say
        for note in info.notes:
            error.add_note(note)
        if info.traceback:
            error.add_note(f"Its traceback:\n{info.traceback}")
    if info.cause is not None:
        error.__cause__ = rebuild(info.cause)
    elif info.context is not None:
        error.__context__ = rebuild(info.context)
    return error


def _same(info: ErrorInfo) -> Exception | None:
    """The exception with its own class, if that is found and takes what was kept of it."""
    kind = _find(info.type)
    if kind is None:
        return None
    try:
        if issubclass(kind, BaseExceptionGroup):
            group = cast("type[ExceptionGroup[Exception]]", kind)
            members = [rebuild(each) for each in info.errors]
            message = info.message.rpartition(" (")[0] if info.message.endswith(")") else info.message
            return group(message, members)
        if info.args is None:
            return None
        args = [info.message] if info.args is UNSET else info.args
        if isinstance(kind.__init__, FunctionType):  # which may want anything, and has run already
            error = kind.__new__(kind, *args)
            error.args = tuple(args)
        else:
            error = kind(*args)
        error.__dict__.update(info.state)
        same = trim(str(error), MESSAGE_LIMIT) == info.message
    except Exception:  # noqa: BLE001 - classes of others may refuse in any way
        return None
    return error if same else None


def _find(name: str) -> type[Exception] | None:
    """The class of this name, if it can be found again and may be raised into a body.

    Those of ``__main__`` are other classes, or none, in the next process.
    """
    found = _look_up("builtins", name) or _look_up("buquet.errors", name)
    module, _, rest = name.rpartition(".")
    while found is None and module and "<" not in name and module != "__main__":
        with contextlib.suppress(Exception):  # importing a module may raise anything
            importlib.import_module(module)
            found = _look_up(module, rest)
        module, _, last = module.rpartition(".")
        rest = f"{last}.{rest}"
    if not isinstance(found, type) or not issubclass(found, Exception):
        return None
    # Neither of these two can be raised into a coroutine.
    return None if issubclass(found, StopIteration | StopAsyncIteration) else found


def _look_up(module: str, path: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found


def error_of(told: Told, what: str) -> Exception:
    """The exception that an operation's end is to the body that waits for it."""
    info = told.error or ErrorInfo(type="", message="")
    if told.outcome == "timeout" or (told.outcome == "failed" and info.type in _TIMEOUTS):
        error: Exception = StepTimeoutError(info.type or "Timeout", info.message or f"{what} did not end in its time")
    elif told.outcome == "cancelled":
        error = StepCancelledError(info.type or "Cancelled", info.message or f"{what} was cancelled", info.traceback)
    elif told.error is None:
        error = StepError("Unknown", f"{what} {told.outcome}, and nothing is known about why")
    else:
        error = rebuild(told.error)
    with contextlib.suppress(Exception):  # a class may refuse attributes
        setattr(error, _OPERATION, told.op)
    return error


_OPERATION = "_buquet_operation"


def operation_of(error: BaseException) -> int | None:
    """The operation that this exception is the end of, if the body passed such a one on."""
    op = getattr(error, _OPERATION, None)
    return op if isinstance(op, int) else None
