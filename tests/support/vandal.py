"""Somebody who damages stored objects at random, by seed."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.objects import Objects

HUGE = 3 * 1024 * 1024
DEEP = 100_000

OTHER_VALUES: list[Any] = [
    None, True, -1, 0, 1.5, 2**53, 2**64 - 1, 2**64, -(2**63), 1e308, "", "x", "\x1b[31m\x07", "é" * 100, [], {}, [[]],
    {"": None}, "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "running", "completed",
]  # fmt: skip
OTHER_TEXTS = [
    "null",
    "[]",
    "{}",
    "1",
    '"text"',
    "1e999",
    '{"format": 1}',
    '{"format": 2}',
    '{"format": "1"}',
    "[1, 1]",
]


class Vandal:
    """Damages objects; the same seed on the same objects does the same."""

    def __init__(self, objects: Objects, seed: int) -> None:
        """Get ready."""
        self.objects = objects
        self.random = random.Random(seed)  # noqa: S311 - to be repeated, not secret

    def damage(self, key: str) -> str:
        """Damage one object and say how."""
        kinds: dict[str, Callable[[bytes], bytes | None]] = {
            "deleted": lambda _: None,
            "emptied": lambda _: b"",
            "cut short": lambda body: body[: self.random.randrange(max(len(body), 1))],
            "bits flipped": self._flip,
            "other JSON": lambda _: self.random.choice(OTHER_TEXTS).encode(),
            "nested": lambda _: self.random.choice([b"[", b'{"a":']) * DEEP,
            "nested inside": self._nest,
            "huge": lambda _: b'{"format": 1, "x": "' + b"x" * HUGE + b'"}',
            "not text": lambda _: self.random.randbytes(200),
            "half a character": lambda body: body.replace(b'"input":', rb'"input":"\ud800","was":'),
            "another field": self._change_a_field,
            "another object's": lambda _: self.objects.get(self.random.choice(self.objects.keys())),
        }
        kind = self.random.choice([*kinds, *["another field"] * 6])
        body = kinds[kind](self.objects.get(key))
        if body is None:
            self.objects.delete(key)
        else:
            self.objects.put(key, body)
        return kind

    def litter(self, records: list[str]) -> None:
        """Leave garbage between the indexes, the workers and the records; `records` may be referred to."""
        names = [record.removeprefix("tasks/").removesuffix(".json").split("/") for record in records]
        now = 29_830_000
        for _ in range(12):
            shard, record = self.random.choice(names)
            number, worker = self.random.randrange(2**63), f"{self.random.randrange(2**64):016x}"
            lease = f"{self.random.randrange(2**64):016x}"
            stray = f"{record[:-5]}{self.random.randrange(10)}0000"
            real = self.random.choice(self.objects.keys("ready/") or ["ready/0/0/0.0.0.0.0.0"]).split(".")
            self.objects.put(
                self.random.choice(
                    [
                        f"ready/{shard}/{now:010}/{record}.{number}.5.00000000.0.1",
                        f"ready/{shard}/{now:010}/{record}.0.9.ffffffff.0.4294967295",
                        f"ready/{stray[0]}/{now:010}/{stray}.1.5.f5b74bc7.0.100",
                        f"ready/{shard}/{now:010}/{record}",
                        f"ready/{shard}/9223372036854775807/{record}.1.5.00000000.0.1",
                        f"ready/{shard}/\x7f/é",
                        ".".join([real[0], "1000", *real[2:]]),
                        ".".join([real[0], "0", *real[2:-1], "4294967295"]),
                        ".".join([*real[:2], "0", *real[3:]]),
                        ".".join([f"{real[0].rpartition('/')[0]}/{stray}", *real[1:]]),
                        f"leases/{shard}/{now:010}/{record}.{lease}.{worker}",
                        f"leases/{shard}/9223372036854775807/{record}.{lease}.{worker}",
                        f"leases/{shard}/x/{record}",
                        f"workers/{worker}.json",
                        "workers/somebody.json",
                        "tasks/readme.txt",
                        f"tasks/{shard}/{record}.json.bak",
                        "bell.json",
                    ]
                ),
                self.random.choice([b"", b"{}", b"[" * DEEP, b"\xff", b'{"id": "' + worker.encode() + b'"}']),
            )

    def _flip(self, body: bytes) -> bytes:
        flipped = bytearray(body or b"\0")
        for _ in range(self.random.randint(1, 5)):
            flipped[self.random.randrange(len(flipped))] ^= 1 << self.random.randrange(8)
        return bytes(flipped)

    def _nest(self, body: bytes) -> bytes:
        place = self.random.choice([b'"input":', b'"error":', b'"commit":', b'"options":', b'"host":', b'"at":'])
        return body.replace(place, place + b"[" * DEEP + b"]" * DEEP + b',"was":', 1)

    def _change_a_field(self, body: bytes) -> bytes:
        """Give one field, at any depth, another value, or take it away."""
        try:
            whole = json.loads(body)
        except (ValueError, RecursionError):
            return b"{}"
        places = _places(whole)
        if not places:
            return b"{}"
        container, key = self.random.choice(places)
        if self.random.random() < 0.2:
            del container[key]
        else:
            container[key] = self.random.choice(OTHER_VALUES)
        return json.dumps(whole).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a JSON value, with each of its keys or indexes."""
    container: Any = value
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(container)
    elif isinstance(value, list):
        keys = list(range(len(container)))
    return [(container, key) for key in keys] + [place for key in keys for place in _places(container[key])]
