"""What a supervisor tells its worker processes, through their environment: a command line is for all to see."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

_VARIABLE = "BUQUET_SUPERVISED"


class Supervised(msgspec.Struct, frozen=True, kw_only=True):
    """A worker process under a supervisor: it drains when its stdin ends, since then the supervisor is gone."""

    url: str | None = None
    """The queue, if the command line named one: it is stronger than what the app says."""
    processes: int = 1
    """How many there are of its kind, which share the machine."""


def environment(supervised: Supervised) -> Mapping[str, str]:
    """The environment of such a process."""
    return {**os.environ, _VARIABLE: msgspec.json.encode(supervised).decode()}


def take_supervised() -> Supervised | None:
    """What the supervisor said, if there is one. Programs that this process starts are not supervised by it."""
    said = os.environ.pop(_VARIABLE, None)
    return None if said is None else msgspec.json.decode(said, type=Supervised)
