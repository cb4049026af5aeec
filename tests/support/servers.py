"""S3 servers for the tests: MiniStack and, where Python 3.13 is found, LocalStack.

    python -m tests.support.servers -- cargo nextest run --release

starts them on free loopback ports, runs the command with `BUQUET_TEST_S3` saying where they listen
(`ministack=http://127.0.0.1:PORT,localstack=http://...`), stops them by process id, and exits as the command did.
Each server is installed once, into `.nox/servers`, and keeps its data in a temporary folder.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests.support.directly import DIRECTLY
from tests.support.s3 import new_bucket
from tests.support.surroundings import plain

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / ".nox" / "servers"
VARIABLE = "BUQUET_TEST_S3"
START_SECONDS = 90.0  # LocalStack imports for some seconds, more on a loaded machine
STOP_SECONDS = 10.0
START_TRIES = 3

# What both servers accept; the Rust tests find them in the environment as well.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How one sort of server is installed and started."""

    name: str
    python: str  # the Python that installs it
    requirements: tuple[str, ...]
    command: tuple[str, ...]  # relative to the environment's bin folder
    health: str

    @property
    def home(self) -> Path:
        """The virtual environment, one for each set of requirements."""
        return INSTALLED / self.requirements[0].replace("==", "-").replace("[base-runtime]", "")


@dataclass(frozen=True, kw_only=True)
class Server:
    """A started server."""

    kind: Kind
    url: str
    process: subprocess.Popen[bytes]
    data: Path

    def stop(self) -> None:
        """Stop the server by its process id and remove its data."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.data, ignore_errors=True)

    def wait_ready(self) -> None:
        """Wait until the server answers; raise RuntimeError with its log where it does not."""
        try:
            wait_answer(self.url + self.kind.health, while_alive=self.process)
            # The first requests are the slowest, and LocalStack gets them wrong where several come in together.
            new_bucket(self.url)
        except (TimeoutError, AssertionError, OSError) as error:
            log = (self.data / "log").read_text("utf-8", "replace")[-2000:]
            message = f"{self.kind.name} did not start (exit status {self.process.poll()}):\n{log}"
            raise RuntimeError(message) from error


def wait_answer(url: str, *, while_alive: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until a GET of the URL is answered; raise TimeoutError after START_SECONDS or when the process ends."""
    deadline = time.monotonic() + START_SECONDS
    while not answers(url):
        ended = while_alive is not None and while_alive.poll() is not None
        if ended or time.monotonic() >= deadline:
            message = f"no answer from {url}"
            raise TimeoutError(message)
        time.sleep(0.05)


def ministack() -> Kind:
    """The server that every run uses: one event loop, quick to start."""
    return Kind(
        name="ministack",
        python=sys.executable,
        requirements=("ministack==1.5.33",),
        command=("ministack",),
        health="/_ministack/health",
    )


def localstack() -> Kind | None:
    """The slower, threaded server; None where there is no Python 3.13, the only one it runs on."""
    python = find_python("3.13")
    if python is None:
        return None
    return Kind(
        name="localstack",
        python=python,
        requirements=(
            "localstack-core[base-runtime]==4.14.0",
            "cbor2<5.8",
            "pyopenssl<25.2",
            "cryptography<46",
            "service-identity",
        ),
        command=("python", str(Path(__file__).with_name("localstack_loopback.py"))),
        health="/_localstack/health",
    )


def find_python(version: str) -> str | None:
    """Return a Python of that minor version, also one that pyenv has but does not have on its path."""
    candidates = [Path(sys.executable)]
    if (found := shutil.which(f"python{version}")) is not None:
        candidates.append(Path(found))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates += sorted(pyenv.glob(f"versions/{version}.*/bin/python"))
    ask = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    for candidate in candidates:
        answer = subprocess.run([candidate, "-c", ask], capture_output=True, text=True, check=False)
        if answer.stdout.strip() == version:
            return str(candidate)
    return None


def install(kind: Kind) -> None:
    """Install the server, once for all runs and processes of this work tree."""
    marker = kind.home / "installed"
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / f"{kind.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if marker.exists():
            return
        shutil.rmtree(kind.home, ignore_errors=True)
        subprocess.run([kind.python, "-m", "venv", kind.home], check=True)
        pip = [kind.home / "bin" / "python", "-m", "pip", "install", "--quiet", "--retries", "10", *kind.requirements]
        subprocess.run(pip, check=True)
        marker.touch()


def launch(kind: Kind) -> Server:
    """Start the server on a free loopback port, without waiting for it to answer."""
    install(kind)
    port = free_port()
    data = Path(tempfile.mkdtemp(prefix=f"buquet-{kind.name}-"))
    command = [str(kind.home / "bin" / kind.command[0]), *kind.command[1:]]
    with (data / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment(kind.name, port, data), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    return Server(kind=kind, url=f"http://127.0.0.1:{port}", process=process, data=data)


def start(kind: Kind) -> Server:
    """Start the server and wait until it answers; another process may have taken the port, so try again."""
    failures: list[str] = []
    for _ in range(START_TRIES):
        server = launch(kind)
        try:
            server.wait_ready()
        except RuntimeError as failure:
            server.stop()
            failures.append(str(failure))
        except BaseException:
            server.stop()
            raise
        else:
            return server
    raise RuntimeError("\n".join(failures))


def environment(name: str, port: int, data: Path) -> Mapping[str, str]:
    """Return the server's environment: bound to loopback, S3 only, its data in the given folder."""
    if name == "ministack":
        settings = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "MINISTACK_HOST": "127.0.0.1",
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(data / "s3"),
            "PERSIST_STATE": "1",
            "STATE_DIR": str(data / "state"),
        }
    else:
        settings = {
            "GATEWAY_LISTEN": f"127.0.0.1:{port}",
            "STRICT_SERVICE_LOADING": "1",
            "EAGER_SERVICE_LOADING": "0",
            "DISABLE_EVENTS": "1",
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "DNS_ADDRESS": "0",
            "LS_LOG": "warning",
            "FILESYSTEM_ROOT": str(data),
            "LOCALSTACK_VOLUME_DIR": str(data),
        }
    return plain(os.environ) | settings | {"SERVICES": "s3"}


def answers(url: str) -> bool:
    """Return whether a GET of the URL is answered with 200."""
    try:
        with DIRECTLY.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def addresses(text: str) -> dict[str, str]:
    """Return the servers that a `BUQUET_TEST_S3` value names: `ministack=URL,localstack=URL`."""
    return dict(entry.split("=", 1) for entry in text.split(",") if entry)


@contextlib.contextmanager
def running(kinds: Sequence[Kind]) -> Generator[dict[str, str]]:
    """Run the servers; give the environment that tells tests of them."""
    with contextlib.ExitStack() as stack:
        started: list[Server] = []
        for kind in kinds:
            server = start(kind)
            stack.callback(server.stop)
            started.append(server)
        listing = ",".join(f"{server.kind.name}={server.url}" for server in started)
        yield {VARIABLE: listing, **CREDENTIALS}


def leave(number: int, frame: object) -> NoReturn:
    """End as for Ctrl-C, by way of every `finally`."""
    del frame
    sys.exit(128 + number)


def main() -> int:
    """Run a command with the servers around it; return its exit status."""
    parser = argparse.ArgumentParser(description="Run a command while S3 servers run on loopback.")
    parser.add_argument("--only", choices=["ministack", "localstack"], help="start this server alone")
    parser.add_argument("command", nargs="+", help="the command, after --")
    arguments = parser.parse_args()

    kinds = [kind for kind in (ministack(), localstack()) if kind and arguments.only in {None, kind.name}]
    if not kinds:
        parser.error(f"{arguments.only} cannot run here: it needs Python 3.13, which was not found")
    if len(kinds) == 1 and arguments.only is None:
        print("LocalStack is left out: it needs Python 3.13, which was not found", file=sys.stderr)
    # A plain SIGTERM would end this process without stopping the servers.
    signal.signal(signal.SIGTERM, leave)
    with running(kinds) as settings:
        print(f"{VARIABLE}={settings[VARIABLE]}", file=sys.stderr)
        return subprocess.run(arguments.command, env=os.environ | settings, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
