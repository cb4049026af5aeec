"""What every test may use: S3 servers, fresh buckets on them, and the fault proxy.

`BUQUET_TEST_S3` names servers that run already, as under nox. Without it, MiniStack is started for the run,
once for all xdist workers.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support import callers, servers, surroundings
from tests.support.proxy import Faults, Proxy
from tests.support.s3 import Bucket, new_bucket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OWN_SERVER = pytest.StashKey[servers.Server]()


@pytest.hookimpl(trylast=True)  # pytest's own colours are decided by now
def pytest_configure(config: pytest.Config) -> None:
    """Start a server where none runs; workers of xdist inherit its address."""
    wanted = not (servers.VARIABLE in os.environ or hasattr(config, "workerinput") or config.option.collectonly)
    if wanted:
        servers.install(servers.ministack())  # by way of the proxy that the environment may name
    surroundings.settle()
    os.environ.update(servers.CREDENTIALS)
    if not wanted:
        return
    server = servers.launch(servers.ministack())  # the first test that needs it waits for it
    config.stash[OWN_SERVER] = server
    os.environ[servers.VARIABLE] = f"{server.kind.name}={server.url}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the server that this run started."""
    server = config.stash.get(OWN_SERVER, None)
    if server is not None:
        server.stop()
        del os.environ[servers.VARIABLE]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `s3_endpoint` once for each server."""
    if "s3_endpoint" in metafunc.fixturenames:
        names = sorted(servers.addresses(os.environ.get(servers.VARIABLE, "ministack=")))
        metafunc.parametrize("s3_endpoint", names, indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the tests that wait for long before the others, which then run meanwhile."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def s3_endpoint(request: pytest.FixtureRequest) -> str:
    """The URL of an S3 server; the test runs once for each server there is."""
    return ready_endpoint(str(request.param))


@pytest.fixture(scope="session")
def ministack_endpoint() -> str:
    """The URL of MiniStack, for tests that one server is enough for."""
    return ready_endpoint("ministack")


def ready_endpoint(name: str) -> str:
    """Return a server's URL once it answers."""
    url = servers.addresses(os.environ[servers.VARIABLE])[name]
    kind = servers.ministack() if name == "ministack" else servers.localstack()
    assert kind is not None
    servers.wait_answer(url + kind.health)
    return url


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A loopback port that refuses every connection, kept from other processes meanwhile."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield int(kept.getsockname()[1])


@pytest.fixture
def bucket(ministack_endpoint: str) -> Bucket:
    """A fresh bucket on MiniStack, versions kept."""
    return new_bucket(ministack_endpoint)


@pytest.fixture
def any_bucket(s3_endpoint: str) -> Bucket:
    """A fresh bucket, versions kept, on each server there is."""
    return new_bucket(s3_endpoint)


@pytest.fixture
def open_proxy() -> Iterator[Callable[..., Proxy]]:
    """A function that puts a fault proxy in front of an endpoint until the test ends."""
    with contextlib.ExitStack() as stack:

        def start(target: str, faults: Faults | None = None, *, seed: int = 1) -> Proxy:
            return stack.enter_context(Proxy(target=target, faults=faults or Faults(), seed=seed))

        yield start


@pytest.fixture(scope="session")
def shared_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run that all workers of xdist share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if hasattr(request.config, "workerinput") else base


@pytest.fixture(scope="session")
def c_program(shared_folder: Path) -> callers.Caller:
    """The C example, compiled."""
    return callers.c_program(shared_folder)


@pytest.fixture(scope="session")
def go_program(shared_folder: Path) -> callers.Caller:
    """The Go example, compiled; without Go the test is skipped."""
    if not callers.has_go():
        pytest.skip(callers.NO_GO)
    return callers.go_program(shared_folder)


@pytest.fixture
def caller(request: pytest.FixtureRequest) -> callers.Caller:
    """The example of the language that the test's parameter names: `c` or `go`."""
    program: callers.Caller = request.getfixturevalue(f"{request.param}_program")
    return program
