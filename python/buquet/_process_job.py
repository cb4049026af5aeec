"""An attempt on its way through a process: what the process is told, and what comes back."""

from __future__ import annotations

import contextlib
import pickle
import threading
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from buquet import _codec
from buquet._attempt import Attempt, FailureInfo, Handler, Outcome
from buquet._chain import Place
from buquet._client import Call
from buquet._process_child import ChildTask, find
from buquet._signature import PlainSignature
from buquet._vault import Delivery
from buquet.errors import BuquetError, InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from buquet._context import AttemptInfo, ContextControl
    from buquet._models import Payload
    from buquet.codecs import Codec


class Killable(Protocol):
    """What can be killed: a process."""

    def kill(self) -> None:
        """Kill it."""
        ...


class ProcessJob:
    """One attempt that runs in a process, or waits for one."""

    def __init__(
        self,
        handler: Handler,
        delivery: Delivery,
        info: AttemptInfo,
        control: ContextControl,
        *,
        begin: Callable[[], AttemptInfo],
    ) -> None:
        """Describe the attempt; ``begin`` is called when a process takes it, and gives what holds from then on."""
        self.begin = begin
        self.handler = handler
        self.delivery = delivery
        self.info = info
        self.control = control
        self.killed = False
        self._child: Killable | None = None
        self._lock = threading.Lock()

    def attach(self, child: Killable | None) -> None:
        """Note which process runs this; one that was given up meanwhile dies at once."""
        with self._lock:
            self._child = child
            if child is not None and self.killed:
                child.kill()

    def kill(self) -> None:
        """Give the attempt up and kill its process."""
        with self._lock:
            self.killed = True
            if self._child is not None:
                self._child.kill()


def check_handlers(handlers: Iterable[Handler], codecs: Iterable[Codec]) -> None:
    """Refuse what no process could be told to run.

    :raises InvalidError: a function cannot be found by its name, or an exception type or a codec not be pickled.
    """
    for handler in handlers:
        if handler.pool != "process":
            continue
        for codec in codecs:
            _check_sendable(codec, f"the codec {codec.name!r}", handler)
        module, qualname = handler.function.__module__, handler.function.__qualname__
        try:
            find(module, qualname)
        except (AttributeError, ImportError) as error:
            raise InvalidError(
                f"task {handler.name!r}: a process cannot find {module}.{qualname} ({error}); "
                "pool='process' needs a function at the top level of a module, under its own name"
            ) from error
        for kind in (*(handler.retry_on or ()), *handler.no_retry_on):
            _check_sendable(kind, kind.__qualname__, handler)


def _check_sendable(value: object, what: str, handler: Handler) -> None:
    try:
        pickle.dumps(value)
    except Exception as error:
        raise InvalidError(
            f"task {handler.name!r}: a process cannot be sent {what} ({error}); define it at the top level of a "
            "module, with nothing in it that cannot be pickled"
        ) from error


def describe(job: ProcessJob, *, is_local: bool) -> ChildTask:
    """What the process is told; ``is_local`` if the queue is out of its reach."""
    handler, client = job.handler, job.delivery.vault.client
    return ChildTask(
        name=handler.name,
        module=handler.function.__module__,
        qualname=handler.function.__qualname__,
        plain=isinstance(handler.signature, PlainSignature),
        retry_on=handler.retry_on,
        no_retry_on=handler.no_retry_on,
        parts=job.delivery.parts(),
        info=job.info,
        config=client.config,
        is_local=is_local,
        codecs=client.codecs,
    )


def answer(job: ProcessJob, word: str, value: Any) -> tuple[str, Any]:
    """Answer what the process asks in the middle of the attempt."""
    try:
        if word == "extend":
            return "ok", job.control.extend_sync(value)
        op, request = value
        call = Call(op, msgspec.Raw(request), msgspec.Raw, bytes)
        return "ok", job.delivery.vault.client.call(call)
    except BuquetError as error:
        return "error", error


def read(job: ProcessJob, encoded: bytes, pickled: bytes | None) -> Attempt:
    """What the attempt came to."""
    outcome = msgspec.json.decode(encoded, type=Outcome)
    if outcome.outcome == "complete":
        return Attempt(outcome, result=_result(job, bytes(outcome.output or b"null"), outcome.payloads or []))
    try:
        error: BaseException = pickle.loads(pickled or b"")  # noqa: S301 - from our own child
    except BaseException:  # noqa: BLE001 - exceptions of all kinds pickle badly in all ways
        info = outcome.error
        text = f"{info.type}: {info.message}" if isinstance(info, FailureInfo) else outcome.outcome
        error = RuntimeError(text)
    return Attempt(outcome, error=error)


def _result(job: ProcessJob, raw: bytes, payloads: list[Payload]) -> Any:
    """The result, for the hooks; of one that lies in a payload only what stands for it."""
    place = Place("result", job.handler.name)
    if not payloads:
        with contextlib.suppress(BaseException):  # what the program's types make of it must not cost the result
            plain = Delivery(job.delivery.vault, raw, None, [], place).open()
            return _codec.decode(plain, job.handler.signature.returns, "the result")
    return msgspec.json.decode(raw)


def died(exit_code: int | None, cause: BaseException | None = None) -> Attempt:
    """The process was gone before it could say what the attempt came to."""
    how = f"with exit code {exit_code} " if exit_code is not None else ""
    because = f" ({cause})" if cause is not None and str(cause) else ""
    message = f"the process ended {how}while it ran the task{because}"
    outcome = Outcome(outcome="fail", error=FailureInfo("ProcessDied", message), retry=True)
    return Attempt(outcome, error=RuntimeError(message))
