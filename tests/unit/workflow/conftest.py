"""What every test of workflows has: bodies are closed at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.workflow.driver import opened

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _bodies_are_closed() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    yield
    while opened:
        opened.pop().body.close()
