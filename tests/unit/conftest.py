"""A fake engine, and both levels on top of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, Queue
from buquet._client import Client, Config
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
