"""The stores' servers: on free loopback ports, with data folders of their own, stopped by process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from tests.support import s3
from tests.support import servers as test_servers

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

START_SECONDS = 60.0
STOP_SECONDS = 20.0
NOBODY = "nobody"


class MissingServerError(Exception):
    """A server is not installed; the message says how to install it."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """A place that queues can be in: `{}` in it stands for a fresh name."""

    kind: str
    place: str
    version: str
    pids: tuple[int, ...] = ()
    endpoint: str = ""  # of an S3 server

    def fresh(self) -> str:
        """Return a place that nothing was in."""
        return self.place.replace("{}", uuid4().hex[:12])


@contextlib.contextmanager
def stores(folder: Path) -> Generator[dict[str, Store]]:
    """Run all servers; give the stores by kind."""
    with contextlib.ExitStack() as stack:
        started = [
            Store(kind="sqlite", place=str(folder / "queue-{}.db"), version="in the worker's process"),
            stack.enter_context(redis(folder / "redis")),
            stack.enter_context(postgresql(folder / "postgresql")),
            stack.enter_context(s3_server(folder / "s3")),
        ]
        yield {store.kind: store for store in started}


@contextlib.contextmanager
def redis(folder: Path) -> Generator[Store]:
    """Run Redis with the persistence that it comes with: snapshots now and then, no log of every write."""
    binary = find("redis-server", "redis-server")
    folder.mkdir(parents=True)
    port = test_servers.free_port()
    command = [binary, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--loglevel", "warning"]
    with process(command, folder) as server:
        wait_port(port, server)
        version = output([binary, "--version"]).split("v=")[1].split()[0]
        yield Store(kind="redis", place=f"redis://127.0.0.1:{port}/0", version=f"Redis {version}", pids=(server.pid,))


@contextlib.contextmanager
def postgresql(folder: Path) -> Generator[Store]:
    """Run PostgreSQL as it comes, each commit on disk before it is answered. It refuses to run as root."""
    binary = Path(find("postgres", "postgresql", "/usr/lib/postgresql/*/bin"))
    folder.mkdir(parents=True)
    user: str | None = None
    if os.geteuid() == 0:
        user = NOBODY
        shutil.chown(folder, NOBODY)
    data = str(folder / "data")
    initdb = [str(binary.with_name("initdb")), "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, user=user, cwd=folder)
    port = test_servers.free_port()
    options = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
    with process([str(binary), "-D", data, "-p", str(port), *options], folder, user=user) as server:
        wait_port(port, server)
        version = output([str(binary), "--version"]).split()[2]
        place = f"host=127.0.0.1 port={port} user=bench dbname=postgres"
        yield Store(kind="postgresql", place=place, version=f"PostgreSQL {version}", pids=(server.pid,))


@contextlib.contextmanager
def s3_server(folder: Path) -> Generator[Store]:
    """Run an S3 server with one bucket: buquet's own for development where there is one, else MiniStack."""
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        server = test_servers.start(test_servers.ministack())
        stack.callback(server.stop)
        bucket = s3.new_bucket(server.url, versioned=False)
        yield s3_store(server.url, bucket.name, "MiniStack 1.5.33", server.process.pid)


def s3_store(endpoint: str, bucket: str, version: str, pid: int) -> Store:
    """Describe a bucket on a server."""
    options = urllib.parse.urlencode({"region": "us-east-1", "endpoint": endpoint})
    place = f"s3://{bucket}/{{}}?{options}"
    return Store(kind="s3", place=place, version=version, pids=(pid,), endpoint=endpoint)


def find(binary: str, package: str, folders: str = "") -> str:
    """Return the path of a server's program; raise MissingServerError where it is not installed."""
    found = shutil.which(binary)
    if folders:  # not on the path where Debian installs it
        elsewhere = sorted(Path("/").glob(f"{folders.lstrip('/')}/{binary}"))
        found = str(elsewhere[-1]) if elsewhere else found
    if found is None:
        message = f"{binary} is not installed: apt-get install {package}"
        raise MissingServerError(message)
    return found


@contextlib.contextmanager
def process(
    command: list[str], folder: Path, *, user: str | None = None, env: Mapping[str, str] | None = None
) -> Generator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; its output goes to `log` in the folder."""
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=user, env=env
        )
    try:
        yield server
    finally:
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def wait_port(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until the port takes connections; raise RuntimeError when the server ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    message = f"{server.args!r} did not start; its exit status is {server.poll()}"
    raise RuntimeError(message)


def output(command: list[str]) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def work_folder() -> Path:
    """Return a fresh folder that other users may enter, as PostgreSQL's has to be."""
    folder = Path(tempfile.mkdtemp(prefix="buquet-bench-"))
    folder.chmod(0o755)
    return folder
