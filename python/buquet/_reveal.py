"""Tasks as they are read, with what passed through the codecs in plain; and errors as they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from buquet._chain import MARK, Chain, Marker, Place, envelope, is_envelope, read_marker
from buquet._models import History, Task, TaskError, TaskPage
from buquet._shown import shown_error
from buquet.errors import BuquetError, CodecError

if TYPE_CHECKING:
    from buquet._attempt import FailureInfo

_UNREADABLE = (msgspec.DecodeError, RecursionError)
"""What msgspec raises of text that is no JSON, or nested without end."""
_SHORTEST = 256
_ERROR_BYTES = 15 * 1024
"""The engine cuts errors off at 16 KiB, type included; one that is sealed must not be."""


class _Details(msgspec.Struct, frozen=True, omit_defaults=True):
    message: str
    traceback: str | None = None


def reveal(chain: Chain, answer: Any) -> Any:
    """The same answer with inputs, results and errors decoded where that needs no payload.

    What cannot be decoded stays as it is: one value must not keep a listing from being read. An error whose text cannot
    be decoded says what is missing.
    """
    if isinstance(answer, Task):
        return _task(chain, answer)
    if isinstance(answer, TaskPage):
        return msgspec.structs.replace(answer, tasks=[_task(chain, task) for task in answer.tasks])
    if isinstance(answer, History):
        events = [msgspec.structs.replace(event, task=_task(chain, event.task)) for event in answer.events]
        return msgspec.structs.replace(answer, events=events)
    if isinstance(answer, list):
        return [reveal(chain, item) for item in cast("list[Any]", answer)]
    return answer


def _task(chain: Chain, task: Task) -> Task:
    return msgspec.structs.replace(
        with_error(chain, task),
        input=_value(chain, task.input, Place("input", task.type)),
        output=_value(chain, task.output, Place("result", task.type)),
    )


def with_error(chain: Chain, task: Task) -> Task:
    """The task with its error in plain, or what is missing to read it."""
    if task.error is None:
        return task
    return msgspec.structs.replace(task, error=_error(chain, task.error, Place("error", task.type)))


def _value(chain: Chain, value: Any, place: Place) -> Any:
    if not is_envelope(value):
        return value
    try:
        marker = read_marker(msgspec.json.encode(value))
        if marker is None or marker.data is None:
            return value
        return msgspec.json.decode(chain.decode(marker.data, marker.codec, place.context()))
    except (BuquetError, *_UNREADABLE):
        return value


def _error(chain: Chain, error: TaskError, place: Place) -> TaskError:
    raw = error.message.encode()
    if not raw.startswith(MARK):
        return error
    try:
        marker = read_marker(raw)
        if marker is None or marker.data is None:
            return error
        plain = chain.decode(marker.data, marker.codec, place.context())
        details = msgspec.json.decode(plain, type=_Details)
    except CodecError as missing:
        return msgspec.structs.replace(
            error, message=f"{shown_error(error.message)}, which cannot be read here: {missing}"
        )
    except _UNREADABLE:
        return error
    return msgspec.structs.replace(error, message=details.message, traceback=details.traceback)


def stored_error(chain: Chain, info: FailureInfo, error: BaseException | None, kind: str) -> FailureInfo:
    """The error as it is stored. Never raises: an attempt must not go untold because a codec fails.

    :param error: what was raised. That a codec is missing or fails is told in plain, for who lacks the key too.
    """
    if isinstance(error, CodecError) and error.is_in_plain:
        return msgspec.structs.replace(info, traceback=None)
    try:
        return seal_error(chain, info, kind)
    except BaseException as failed:  # noqa: BLE001 - a codec may raise anything
        why = str(failed) if isinstance(failed, CodecError) else type(failed).__name__
        return msgspec.structs.replace(info, message=f"<its text could not be encoded: {why}>", traceback=None)


def seal_error(chain: Chain, error: FailureInfo, kind: str) -> FailureInfo:
    """The error with its type in plain, message and traceback through the codecs.

    :raises CodecError: one of them fails.
    """
    from buquet._attempt import trim  # noqa: PLC0415 - it is imported from there

    place = Place("error", kind)
    traceback, message, limit = error.traceback, error.message, 16 * 1024
    while True:
        plain = msgspec.json.encode(_Details(message, traceback))
        sealed = envelope(Marker(codec=chain.names, data=chain.encode(plain, place.context())))
        if len(sealed) + len(error.type.encode()) <= _ERROR_BYTES or limit < _SHORTEST:
            return msgspec.structs.replace(error, message=sealed.decode(), traceback=None)
        limit //= 2
        traceback = None if traceback is None else trim(traceback, limit)
        message = trim(message, limit)
