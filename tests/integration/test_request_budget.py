"""A submit ends when its time is over, however the store keeps it waiting."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from buquet import Buquet, UnavailableError
from tests.support.servers import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Iterator

BUDGET = 0.5
REST = 5.0  # what a busy machine may add


@pytest.fixture
def mute_port() -> Iterator[int]:
    """A loopback port that takes connections and never answers."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(16)
        yield int(mute.getsockname()[1])


@pytest.mark.parametrize("store", ["refuses connections", "never answers"])
def test_a_submit_gives_up_in_time_and_says_what_is_wrong(
    store: str, silent_port: int, mute_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**CREDENTIALS, "BUQUET_ENGINE_REQUEST_BUDGET": f"{BUDGET:g}"}.items():
        monkeypatch.setenv(name, value)
    port = silent_port if store == "refuses connections" else mute_port
    app = Buquet(f"s3://bucket/queue?region=us-east-1&endpoint=http://127.0.0.1:{port}")

    @app.task
    def work() -> None: ...

    begun = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        work.submit()
    assert BUDGET / 2 < time.monotonic() - begun < BUDGET + REST
    assert "s3://bucket/queue" in str(caught.value)
    app.close()
