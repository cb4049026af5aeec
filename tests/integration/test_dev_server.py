"""`buquet dev` as a process: how it starts and ends, what it keeps, and who works with it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.dev import DevServer, NoAnswer, dev_server, outcome
from tests.support.processes import background, clean_environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

RACERS = 32
ROUNDS = 20
AWS = str(Path(sys.executable).with_name("aws"))

USE_BUQUET = """
from buquet import Buquet

app = Buquet()

@app.task(retries=0)
def double(n: int) -> int:
    return 2 * n

if __name__ == "__main__":
    handles = double.map(range(200))
    print(sum(handles.results(timeout=80)))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DevServer]:
    with dev_server(tmp_path) as started:
        yield started


def run(*command: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=clean_environment(**settings), capture_output=True, text=True, timeout=120, check=False
    )


class TestStartingAndEnding:
    @pytest.mark.parametrize("number", ["terminate", "interrupt"])
    def test_a_signal_ends_it_cleanly(self, server: DevServer, number: str) -> None:
        client = server.client()
        client.put_object(Bucket="dev", Key="k", Body=b"1")  # its connection stays open
        getattr(server.running, number)()
        assert server.running.wait(60) == 0, server.running.output()

    def test_it_says_that_it_is_for_development(self, server: DevServer) -> None:
        first = server.running.output().splitlines()[0]
        assert "not for production" in first
        assert server.endpoint in first
        assert server.endpoint.startswith("http://127.0.0.1:")

    def test_a_command_runs_with_its_variables_and_gives_its_status(self, tmp_path: Path) -> None:
        code = "import os, sys; print(os.environ['BUQUET_URL']); sys.exit(7)"
        done = run("buquet", "dev", "-s", "memory:", "-p", "0", "--", sys.executable, "-c", code, folder=tmp_path)
        assert (done.returncode, done.stdout[:15]) == (7, "s3://dev/queue?"), done.stderr

    def test_json_is_all_that_goes_to_stdout(self, tmp_path: Path) -> None:
        command = ["buquet", "dev", "-s", "memory:", "-p", "0", "--json"]
        with subprocess.Popen(command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            lines: list[bytes] = []
            while not lines or lines[-1] != b"}\n":
                lines.append(process.stdout.readline())
                assert lines[-1], "it ended before it had said all"
            process.terminate()
            assert process.stdout.read() == b""
        assert json.loads(b"".join(lines))["bucket"] == "dev"

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--host", "192.0.2.1"], "--allow-remote"),
            (["--host", "localhost"], "127.0.0.1"),
            (["--store", "s3://bucket"], "sqlite:PATH"),
            (["--bucket", "Bad_Name"], "Bad_Name"),
            (["--secret-key", "with space"], "secret_key"),
            (["--error-503", "0.7", "--lost-answers", "0.7"], "1.4"),
            (["--latency", "soon"], "soon"),
            (["--", "no-such-command-here"], "no-such-command-here"),
        ],
        ids=str,
    )
    def test_a_mistake_exits_with_2_and_says_what_is_wrong(self, tmp_path: Path, options: list[str], said: str) -> None:
        store = () if "--store" in options else ("--store", "memory:")
        done = run("buquet", "dev", *store, "--port", "0", *options, folder=tmp_path)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert done.stdout == ""

    def test_a_port_that_is_taken_is_named(self, server: DevServer, tmp_path: Path) -> None:
        port = server.endpoint.rpartition(":")[2]
        done = run("buquet", "dev", "--port", port, folder=tmp_path)
        assert done.returncode == 2
        assert port in done.stderr
        assert not (tmp_path / ".buquet").exists(), "nothing was made in vain"


class TestKeeping:
    def test_nothing_acknowledged_is_lost_by_a_kill(self, tmp_path: Path) -> None:
        store = f"sqlite:{tmp_path}/dev.db"
        acknowledged: dict[str, str] = {}

        def write(s3: Any, writer: int) -> None:
            for n in range(100_000):
                key = f"{writer}/{n}"
                try:
                    acknowledged[key] = s3.put_object(Bucket="dev", Key=key, Body=key.encode(), Metadata={"n": key})[
                        "VersionId"
                    ]
                except NoAnswer:
                    return

        with dev_server(tmp_path, store=store) as server, ThreadPoolExecutor(4) as writers:
            for writer in range(4):
                writers.submit(write, server.client(), writer)
            try:
                wait_until(lambda: len(acknowledged) >= 400, within=60, what="400 writes")
            finally:
                server.running.kill()  # which ends the writers
        with dev_server(tmp_path, store=store) as again:
            assert again.variables["AWS_SECRET_ACCESS_KEY"] == server.variables["AWS_SECRET_ACCESS_KEY"]
            s3 = again.client()
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket="dev")
            assert set(acknowledged) <= {each["Key"] for page in pages for each in page["Contents"]}
            for key in list(acknowledged)[::7]:
                found = s3.get_object(Bucket="dev", Key=key)
                assert (found["Body"].read(), found["Metadata"]) == (key.encode(), {"n": key})
                assert found["VersionId"] == acknowledged[key]

    def test_two_servers_on_one_file_see_each_other(self, tmp_path: Path) -> None:
        store = f"sqlite:{tmp_path}/dev.db"
        with dev_server(tmp_path, store=store) as one, dev_server(tmp_path, store=store) as other:
            one.client().create_bucket(Bucket="shared")
            one.client().put_object(Bucket="shared", Key="k", Body=b"1")
            assert other.client().get_object(Bucket="shared", Key="k")["Body"].read() == b"1"


@pytest.mark.parametrize("store", ["memory", "sqlite"])
class TestRaces:
    @pytest.fixture
    def s3(self, store: str, tmp_path: Path) -> Iterator[Any]:
        url = "memory:" if store == "memory" else f"sqlite:{tmp_path}/dev.db"
        with dev_server(tmp_path, store=url) as server:
            yield server.client(connections=RACERS)

    def test_of_32_creators_exactly_one_wins(self, s3: Any) -> None:
        for n in range(ROUNDS):
            race(s3, f"create/{n}", {"IfNoneMatch": "*"})

    def test_of_32_changers_exactly_one_wins(self, s3: Any) -> None:
        for n in range(ROUNDS):
            tag = s3.put_object(Bucket="dev", Key=f"change/{n}", Body=b"before")["ETag"]
            race(s3, f"change/{n}", {"IfMatch": tag})


def race(s3: Any, key: str, condition: dict[str, str]) -> None:
    """Let all put at once; one must win, and its body be there."""
    start = threading.Barrier(RACERS)

    def put(racer: int) -> int:
        start.wait(60)
        return outcome(s3.put_object, Bucket="dev", Key=key, Body=b"by %d" % racer, **condition)[0]

    with ThreadPoolExecutor(RACERS) as racers:
        statuses = list(racers.map(put, range(RACERS)))
    winners = [racer for racer, status in enumerate(statuses) if status == 200]
    assert len(winners) == 1, statuses
    assert set(statuses) == {200, 412}
    assert s3.get_object(Bucket="dev", Key=key)["Body"].read() == b"by %d" % winners[0]


class TestFaults:
    def test_refused_requests_have_no_effect(self, tmp_path: Path) -> None:
        with dev_server(tmp_path, "--error-503", "1") as server:
            assert outcome(server.client().put_object, Bucket="dev", Key="k", Body=b"1") == (503, "SlowDown")

    def test_some_requests_are_refused_and_some_are_not(self, tmp_path: Path) -> None:
        with dev_server(tmp_path, "--error-503", "0.5", "--seed", "3") as server:
            s3 = server.client()
            put = {"Bucket": "dev", "Key": "k", "IfNoneMatch": "*"}
            statuses = [outcome(s3.put_object, **put, Body=b"%d" % n)[0] for n in range(40)]
        assert statuses.count(200) == 1
        assert statuses.index(200) < statuses.index(412), "what was refused before had no effect"
        assert 5 < statuses.count(503) < 35

    def test_the_same_seed_gives_the_same_faults(self, tmp_path: Path) -> None:
        def statuses() -> list[int]:
            with dev_server(tmp_path, "--error-503", "0.5", "--seed", "3") as server:
                s3 = server.client()
                return [outcome(s3.list_buckets)[0] for _ in range(20)]

        assert statuses() == statuses()

    def test_a_lost_answer_is_of_a_request_that_was_carried_out(self, tmp_path: Path) -> None:
        store = f"sqlite:{tmp_path}/dev.db"
        with dev_server(tmp_path, "--lost-answers", "1", store=store) as server, pytest.raises(NoAnswer):
            server.client().put_object(Bucket="dev", Key="k", Body=b"1")
        with dev_server(tmp_path, store=store) as server:
            assert server.client().get_object(Bucket="dev", Key="k")["Body"].read() == b"1"

    def test_latency_delays_every_request(self, tmp_path: Path) -> None:
        with dev_server(tmp_path, "--latency", "300ms") as server:
            s3, begun = server.client(), time.monotonic()
            for _ in range(3):
                s3.list_buckets()
            assert time.monotonic() - begun >= 0.9


class TestOthers:
    def test_a_worker_of_buquet_works_in_it(self, server: DevServer, tmp_path: Path) -> None:
        (tmp_path / "doubling.py").write_text(USE_BUQUET)
        with background(["buquet", "worker", "doubling:app"], cwd=tmp_path, env=server.environment()) as worker:
            done = run(sys.executable, "doubling.py", folder=tmp_path, **server.variables)
            assert (done.returncode, done.stdout.strip()) == (0, str(2 * sum(range(200)))), done.stderr
            worker.terminate()
            assert worker.wait(60) == 0, worker.output()

    @pytest.mark.slow
    def test_a_worker_of_buquet_gets_through_a_bad_day(self, tmp_path: Path) -> None:
        faults = ["--latency", "2ms", "--error-503", "0.03", "--lost-answers", "0.03", "--seed", "1"]
        (tmp_path / "doubling.py").write_text(USE_BUQUET)
        with (
            dev_server(tmp_path, *faults) as server,
            background(["buquet", "worker", "doubling:app"], cwd=tmp_path, env=server.environment()),
        ):
            done = run(sys.executable, "doubling.py", folder=tmp_path, **server.variables)
            assert (done.returncode, done.stdout.strip()) == (0, str(2 * sum(range(200)))), done.stderr

    @pytest.mark.timeout(400)
    @pytest.mark.slow
    def test_the_aws_command_line_works_with_it(self, server: DevServer, tmp_path: Path) -> None:
        def aws(*words: str) -> str:
            done = run(AWS, *words, folder=tmp_path, **server.variables)
            assert done.returncode == 0, done.stderr
            return done.stdout

        source = tmp_path / "source"
        (source / "folder").mkdir(parents=True)
        (source / "small.txt").write_text("small")
        (source / "folder" / "large").write_bytes(b"0123456789abcdef" * 1_250_000)  # 20 MB: in parts
        aws("s3", "mb", "s3://shelf")
        aws("s3", "sync", "source", "s3://shelf/copy", "--no-progress")
        assert "20000000 copy/folder/large" in aws("s3", "ls", "--recursive", "s3://shelf")
        assert "PRE folder/" in aws("s3", "ls", "s3://shelf/copy/")
        aws("s3", "cp", "--recursive", "--no-progress", "s3://shelf/copy", "back")
        for name in ("small.txt", "folder/large"):
            assert (tmp_path / "back" / name).read_bytes() == (source / name).read_bytes()
        aws("s3", "mv", "--no-progress", "s3://shelf/copy/folder/large", "s3://shelf/moved")
        assert "copy/folder" not in aws("s3", "ls", "--recursive", "s3://shelf")
        aws("s3", "rm", "--recursive", "s3://shelf")
        assert aws("s3", "ls", "s3://shelf") == ""
        versions = json.loads(aws("s3api", "list-object-versions", "--bucket", "shelf", "--output", "json"))
        assert len(versions["DeleteMarkers"]) == 3
