"""`buquet dev` as a process, and boto3 to talk to it."""

from __future__ import annotations

import contextlib
import importlib
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.support.processes import Running, background, clean_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

boto3: Any = importlib.import_module("boto3")
botocore_config: Any = importlib.import_module("botocore.config")
ClientError: Any = importlib.import_module("botocore.exceptions").ClientError
NoAnswer: Any = importlib.import_module("botocore.exceptions").HTTPClientError

START_SECONDS = 60.0  # the first start of a library just built reads it from a cold disk
EXPORT = re.compile(r"^export (\w+)=(.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class DevServer:
    """A running `buquet dev`."""

    running: Running
    variables: dict[str, str]  # those that it printed

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return self.variables["AWS_ENDPOINT_URL"]

    def environment(self) -> dict[str, str]:
        """The environment of a process that uses it."""
        return clean_environment(**self.variables)

    def client(self, *, secret: str | None = None, attempts: int = 1, connections: int = 10) -> Any:
        """Return boto3's client; it tries once unless told otherwise."""
        config = botocore_config.Config(
            retries={"total_max_attempts": attempts}, max_pool_connections=connections, read_timeout=30
        )
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.variables["AWS_REGION"],
            aws_access_key_id=self.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=secret or self.variables["AWS_SECRET_ACCESS_KEY"],
            config=config,
        )


@contextlib.contextmanager
def dev_server(folder: Path, *options: str, store: str = "memory:") -> Generator[DevServer]:
    """Run `buquet dev` on a free port until the block ends."""
    command = ["buquet", "dev", "--store", store, "--port", "0", *options]
    with background(command, cwd=folder, env=clean_environment()) as running:

        def printed() -> dict[str, str]:
            assert running.process.poll() is None, running.output()
            found = EXPORT.findall(running.output())
            return {name: "".join(shlex.split(value)) for name, value in found}

        wait_until(lambda: "BUQUET_URL" in printed(), within=START_SECONDS, what="the variables of buquet dev")
        yield DevServer(running=running, variables=printed())


def new_bucket(client: Any) -> str:
    """Make an empty bucket with a name of its own."""
    name = f"test-{uuid4().hex[:16]}"
    client.create_bucket(Bucket=name)
    return name


def outcome(call: Any, **arguments: Any) -> tuple[int, str]:
    """Return the HTTP status of a request and its error code, empty where there is none."""
    try:
        answer = call(**arguments)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
    return answer["ResponseMetadata"]["HTTPStatusCode"], ""
