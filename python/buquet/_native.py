"""The engine in libbuquet, loaded at first use."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from buquet.errors import BuquetError, ClosedError, InternalError, from_code

# Here, and not where it is first used, where a fork or a signal handler could find it half imported.
try:
    from buquet import _abi
except ImportError as error:
    _abi, _missing = None, error
else:
    _missing = None

ABI_MAJOR = 1
"""The major version of the C ABI this package speaks. A minor version only adds."""

_OK = 0
_TIMEOUT = 1
_NAME = "libbuquet.dylib" if sys.platform == "darwin" else "libbuquet.so"


class _Library:
    """The loaded library: cffi's ``ffi`` and ``lib``."""

    def __init__(self) -> None:
        path = Path(__file__).with_name(_NAME)
        try:
            if _abi is None:
                raise _missing or ImportError
            self.ffi: Any = _abi.ffi
            self.lib: Any = self.ffi.dlopen(str(path))
        except (ImportError, OSError) as error:
            raise InternalError(
                f"the native library {path} cannot be loaded ({error}); "
                "reinstall buquet, or in a clone run: pip install -e ."
            ) from error
        version: int = self.lib.bq_abi_version()
        if version >> 16 != ABI_MAJOR:
            raise InternalError(
                f"{path} speaks version {version >> 16}.{version & 0xFFFF} of the ABI, "
                f"this package version {ABI_MAJOR}; reinstall buquet"
            )

    def check(self, status: int, error: Any) -> None:
        """Raise what a call reported, and free its error object."""
        handle = error[0]
        try:
            if status == _OK:
                return
            if handle == self.ffi.NULL:
                raise InternalError(f"the native library answered {status} and did not say why")
            code = self.ffi.string(self.lib.bq_error_code(handle)).decode()
            message = self.ffi.string(self.lib.bq_error_message(handle)).decode(errors="replace")
            raise from_code(code, message)
        finally:
            if handle != self.ffi.NULL:
                self.lib.bq_error_free(handle)


@cache
def library() -> _Library:
    """Load the library, once.

    :raises InternalError: it is missing, or speaks another version of the ABI.
    """
    return _Library()


class _Handle:
    """A native handle. The library checks every use, so a closed one is refused, not followed."""

    def __init__(self, native: Any) -> None:
        self.native = native
        self._pid = os.getpid()
        self._closed = False

    def _close_once(self) -> bool:
        """Whether it is up to the caller to free the handle: once, and never in a forked child."""
        if self._closed or self._pid != os.getpid():
            return False
        self._closed = True
        return True


class NativeQueue(_Handle):
    """A completion queue of the library."""

    def submit(self, op: str, request: bytes, token: int) -> None:
        """Start an operation."""
        library_ = library()
        ffi, name = library_.ffi, op.encode()
        error = ffi.new("bq_error **")
        status = library_.lib.bq_submit(
            self.native,
            ffi.from_buffer("uint8_t[]", name),
            len(name),
            ffi.from_buffer("uint8_t[]", request),
            len(request),
            token,
            error,
        )
        library_.check(status, error)

    def cancel(self, token: int) -> None:
        """Give an operation up; one that is already complete is left alone."""
        library().lib.bq_cancel(self.native, token)

    def fileno(self) -> int:
        """The descriptor to poll."""
        descriptor: int = library().lib.bq_queue_fd(self.native)
        if descriptor < 0:
            raise InternalError("the completion queue has no descriptor to poll")
        return descriptor

    def wait(self, timeout_ms: int) -> bool:
        """Wait for a completion. Other threads run meanwhile."""
        status: int = library().lib.bq_queue_wait(self.native, timeout_ms)
        if status not in (_OK, _TIMEOUT):
            raise ClosedError(f"the completion queue is closed (status {status})")
        return status == _OK

    def drain(self, limit: int) -> bytes | None:
        """Take up to ``limit`` completions."""
        library_ = library()
        ffi = library_.ffi
        buffer, error = ffi.new("bq_buffer **"), ffi.new("bq_error **")
        status = library_.lib.bq_queue_drain(self.native, limit, buffer, error)
        library_.check(status, error)
        owned = buffer[0]
        if owned == ffi.NULL:
            return None
        try:
            return bytes(ffi.buffer(owned.data, owned.len))
        finally:
            library_.lib.bq_buffer_free(owned)

    def close(self) -> None:
        """Free the queue; threads that wait on it get ``ClosedError``."""
        if self._close_once():
            library().lib.bq_queue_close(self.native)

    def __del__(self) -> None:
        """A thread or a loop that ended without closing its queue still frees it."""
        self.close()


class NativeEngine(_Handle):
    """An engine of the library."""

    def __init__(self, config: bytes) -> None:
        """Open an engine. The store is first reached by the first operation."""
        library_ = library()
        ffi = library_.ffi
        out, error = ffi.new("bq_engine **"), ffi.new("bq_error **")
        status = library_.lib.bq_engine_open(ffi.from_buffer("uint8_t[]", config), len(config), out, error)
        library_.check(status, error)
        super().__init__(out[0])

    def open_queue(self) -> NativeQueue:
        """Open a completion queue."""
        library_ = library()
        out, error = library_.ffi.new("bq_queue **"), library_.ffi.new("bq_error **")
        status = library_.lib.bq_queue_open(self.native, out, error)
        library_.check(status, error)
        return NativeQueue(out[0])

    def close(self, timeout_ms: int) -> None:
        """Stop the engine, giving what runs up to ``timeout_ms``."""
        if self._close_once():
            library().lib.bq_engine_close(self.native, timeout_ms)

    def __del__(self) -> None:
        """An engine that nobody closed is freed without waiting for what it runs."""
        if hasattr(self, "native"):
            self.close(0)


def open_engine(config: bytes) -> NativeEngine:
    """Open the library's engine.

    :raises ConfigError: the configuration is wrong.
    :raises InternalError: the library cannot be loaded.
    """
    return NativeEngine(config)


def engine_version() -> str:
    """The native library's version, for bug reports."""
    try:
        return library().ffi.string(library().lib.bq_version()).decode()
    except BuquetError:
        return "not loaded"
