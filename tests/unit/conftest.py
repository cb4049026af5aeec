"""A fake engine, and both levels on top of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, Queue
from buquet._address import Config
from buquet._client import Client
from tests.unit.fake_engine import FakeEngine

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def engine() -> Iterator[FakeEngine]:
    """An engine in this process."""
    engine = FakeEngine()
    yield engine
    engine.close(0)


@pytest.fixture
def client(engine: FakeEngine) -> Iterator[Client]:
    """A connection to the fake engine."""
    client = Client(Config(), opener=lambda _: engine)
    yield client
    client.close()


@pytest.fixture
def queue(client: Client) -> Queue:
    """The plain level on the fake engine."""
    return Queue(client)


@pytest.fixture
def app(client: Client) -> Buquet:
    """The app level on the fake engine."""
    app = Buquet()
    app._client = client  # pyright: ignore[reportPrivateUsage]
    return app


class LoopClock:
    """The clock of a test's event loop, which the test may put forward: no deadline depends on the machine's speed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._real = loop.time
        self._ahead = 0.0

    def time(self) -> float:
        """What the loop takes for the time."""
        return self._real() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let time pass. To be called on the loop."""
        self._ahead += seconds


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> LoopClock:
    """The clock of the test's loop."""
    loop = asyncio.get_running_loop()
    clock = LoopClock(loop)
    monkeypatch.setattr(loop, "time", clock.time)
    return clock
