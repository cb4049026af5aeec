"""What every test of workflows has: bodies are closed at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.workflow.driver import Driver, opened

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=[False, True], ids=["", "crashing"])
def crashing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test twice: with bodies that live on, and with crashes after everything that they are told."""
    monkeypatch.setattr(Driver, "crashes_always", request.param)


@pytest.fixture(autouse=True)
def _bodies_are_closed() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest uses it
    yield
    while opened:
        opened.pop().body.close()
