"""Scopes: places in a body where what it asks for is counted, so that concurrent parts do not share a count."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

_LONGEST = 200


class Scope:
    """A branch of a body: the body itself, one of its asyncio tasks, a ``ctx.scope`` block, or an item of a map.

    Its path is that of its parent, then a number or, where it has a name, that and its occurrence.
    """

    __slots__ = ("_children", "_counts", "_random", "_seed", "_uuids", "path")

    def __init__(self, path: str, seed: str) -> None:
        """Begin a scope; ``seed`` is the run's."""
        self.path = path if len(path) <= _LONGEST else f"~{hashlib.sha256(path.encode()).hexdigest()[:32]}"
        self._seed = seed
        self._children = 0
        self._counts: Counter[tuple[str, str]] = Counter()
        self._random: random.Random | None = None
        self._uuids: random.Random | None = None

    def child(self, name: str | None = None) -> Scope:
        """The next scope in this one."""
        if name is None:
            segment = str(self._children)
            self._children += 1
        else:
            segment = f"{name}.{self.count('scope', name)}"
        return self.at(segment)

    def at(self, segment: str) -> Scope:
        """The scope of this segment, as of an item of a map."""
        return Scope(f"{self.path}/{segment}" if self.path else segment, self._seed)

    def count(self, kind: str, name: str) -> int:
        """How many of this kind and name there were before; counts one more."""
        key = (kind, name)
        before = self._counts[key]
        self._counts[key] = before + 1
        return before

    @property
    def random(self) -> random.Random:
        """A source of numbers that gives the same ones at every replay."""
        if self._random is None:
            self._random = random.Random(f"random {self._seed} {self.path}")  # noqa: S311 - to be the same again
        return self._random

    @property
    def uuids(self) -> random.Random:
        """Likewise, for ids: so that those do not change where numbers are drawn too."""
        if self._uuids is None:
            self._uuids = random.Random(f"uuid {self._seed} {self.path}")  # noqa: S311 - to be the same again
        return self._uuids
