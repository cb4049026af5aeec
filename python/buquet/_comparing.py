"""Whether a task of the same idempotency key is the same task, where its input passed through codecs.

No two encryptions of a value are equal, so that the engine takes encoded inputs to be the same, and this looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from buquet import _ops
from buquet._chain import Place, read_marker
from buquet.errors import CodecError, ConflictError, NotFoundError

if TYPE_CHECKING:
    from buquet._chain import Chain
    from buquet._client import Check
    from buquet._models import Task

_SHOWN = 100


def compare(chain: Chain, task_id: str, kind: str, encoded: bytes) -> Check:
    """Read the first task of the key and compare its input with the one that was submitted now.

    Says nothing where the first one cannot be decoded here, or is gone.

    :raises ConflictError: they differ.
    """
    try:
        first: Task = yield _ops.get(task_id)
        raw = first.input
        if raw is None and first.input_ref is not None:
            raw = msgspec.json.decode((yield _ops.payload_read(first.input_ref, 0)))
        theirs, ours = _plain(chain, msgspec.json.encode(raw), first.type), _plain(chain, encoded, kind)
    except (CodecError, NotFoundError, msgspec.DecodeError, RecursionError):
        return
    if theirs != ours:
        one, other = (
            ("", "another input")
            if chain.hiding
            else (f" with the input {_shown(theirs)}", f"the input {_shown(ours)}")
        )
        raise ConflictError(
            f'the key "{first.key}" belongs to task {task_id}, a "{first.type}"{one}; it cannot be used for a "{kind}" '
            f"with {other}: use another key, or submit the same"
        )


def _plain(chain: Chain, raw: bytes, kind: str) -> bytes:
    """An input's JSON in one spelling.

    :raises CodecError: it cannot be decoded here.
    """
    marker = read_marker(raw)
    if marker is not None:
        if marker.data is None:
            raise CodecError("it lies in a payload")
        raw = chain.decode(marker.data, marker.codec, Place("input", kind).context())
    return msgspec.json.encode(msgspec.json.decode(raw), order="sorted")


def _shown(plain: bytes) -> str:
    text = plain.decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
