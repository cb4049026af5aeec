"""The stores' servers: on free loopback ports, with data folders of their own, stopped by process id."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from tests.support import servers as test_servers

if TYPE_CHECKING:
    from collections.abc import Generator

START_SECONDS = 60.0
STOP_SECONDS = 20.0
NOBODY = "nobody"
BUCKET = "bench"
KEYS = (
    *("--access-key", test_servers.CREDENTIALS["AWS_ACCESS_KEY_ID"]),
    *("--secret-key", test_servers.CREDENTIALS["AWS_SECRET_ACCESS_KEY"]),
)


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
def s3_server(folder: Path, *, latency: str = "0s") -> Generator[Store]:
    """Run an S3 server: buquet's own for development where there is one, else MiniStack, which adds no latency."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "buquet", "dev"]
    if subprocess.run([*command, "--help"], capture_output=True, check=False).returncode != 0:
        with ministack() as store:
            yield store
        return
    options = ["--store", "memory:", "--port", "0", "--bucket", BUCKET, "--latency", latency, *KEYS, "--json"]
    with process([*command, *options], folder, stdout=subprocess.PIPE) as server:
        if server.stdout is None:
            raise RuntimeError("buquet dev has no stdout")
        told = msgspec.json.decode(read_value(server.stdout), type=dict[str, Any])
        yield s3_store(told["endpoint"], BUCKET, "buquet dev, memory:", server.pid)


@contextlib.contextmanager
def ministack() -> Generator[Store]:
    """Run MiniStack with a bucket."""
    kind = test_servers.ministack()
    server = test_servers.start(kind)
    try:
        new_bucket(server.url, BUCKET)
        yield s3_store(server.url, BUCKET, kind.requirements[0].replace("==", " "), server.process.pid)
    finally:
        server.stop()


def read_value(stream: IO[bytes]) -> bytes:
    """Read one JSON object that is printed over several lines."""
    lines: list[bytes] = []
    while line := stream.readline():
        lines.append(line)
        if line == b"}\n":
            return b"".join(lines)
    message = f"the server ended before it said where it listens: {lines!r}"
    raise RuntimeError(message)


def new_bucket(endpoint: str, name: str = "") -> str:
    """Make a bucket that keeps versions, without which buquet 0.1.0 does not start; return its name."""
    # As Any, for its client's methods are made at run time.
    boto3: Any = importlib.import_module("boto3")
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=test_servers.CREDENTIALS["AWS_REGION"],
        aws_access_key_id=test_servers.CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=test_servers.CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    name = name or f"bench-{uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


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
    command: list[str], folder: Path, *, user: str | None = None, stdout: int | None = None
) -> Generator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; its output goes to `log` in the folder."""
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log if stdout is None else stdout,
            stderr=log,
            user=user,
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
