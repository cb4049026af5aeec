"""Large values put together, and what the allocator is told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from buquet import _allocator
from buquet._allocator import joined, use_few_arenas

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the allocator is told, instead of telling it."""
    told: list[tuple[Any, ...]] = []

    def function(name: str) -> Callable[..., None]:
        def tell(*words: int) -> None:
            told.append((name, *words))

        return tell

    monkeypatch.setattr(_allocator, "_function", function)
    for name in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    return told


@pytest.mark.parametrize("count", [0, 1, 3, 9])
def test_pieces_become_one_value_and_large_ones_leave_nothing_behind(count: int, told: list[tuple[Any, ...]]) -> None:
    pieces = [os.urandom(1024 * 1024) for _ in range(count)]
    assert joined(iter(pieces)) == b"".join(pieces)
    assert told == ([("malloc_trim", 0)] if count == 9 else [])


def test_settings_of_the_environment_count_more(told: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    use_few_arenas()
    assert told == [("mallopt", -8, 2)]
    for name in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES"):
        with monkeypatch.context() as environment:
            environment.setenv(name, "8")
            use_few_arenas()
    assert len(told) == 1


def test_the_real_functions_can_be_called() -> None:
    _allocator._function("malloc_trim")(0)  # pyright: ignore[reportPrivateUsage]
    _allocator._function("mallopt")(-8, 8)  # pyright: ignore[reportPrivateUsage]
