"""Bad input gives the error that says what to do, and stores nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from buquet import Buquet, BuquetError, RetryPolicy, Worker, _ops, connect
from buquet._options import SubmitOptions
from buquet.errors import (
    ArgumentError,
    ConfigError,
    DeniedError,
    EncodeError,
    InvalidError,
    LayoutError,
    NotFoundError,
    UnavailableError,
    UnsupportedError,
)
from tests.support.proxy import Faults, Proxy
from tests.support.s3 import Bucket

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KIB = 1024


async def stored(url: str) -> int:
    """Return how many tasks the queue has."""
    async with connect(url) as queue:
        return len((await queue.list()).tasks)


TYPE_NAMES = ["", "a" * 129, "../../etc/passwd", "a/b", "a b", "ab\n", "a\x00b", "-a", "ünïcode", ".", "a\\b"]
TASK_IDS = ["", "nonsense", "../buquet", "0" * 32, "\x00", "a" * 5000, "00000000-0000-4000-8000-000000000000/../x"]
OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"timeout": -1}, "timeout"),
    ({"timeout": 0}, "timeout"),
    ({"timeout": "5 parsecs"}, "5 parsecs"),
    ({"timeout": float("nan")}, "timeout"),
    ({"timeout": timedelta(days=4000)}, "366 days"),
    ({"delay": -0.001}, "delay"),
    ({"delay": timedelta(seconds=-5)}, "delay"),
    ({"delay": "-5m"}, "-5m"),
    ({"delay": "1s", "at": datetime(2030, 1, 1, tzinfo=UTC)}, "both"),
    ({"at": datetime(2030, 1, 1)}, "at"),  # noqa: DTZ001 - the mistake under test
    ({"priority": 10}, "10"),
    ({"priority": -1}, "-1"),
    ({"priority": 1.5}, "1.5"),
    ({"max_retries": -1}, "-1"),
    ({"max_retries": 2.5}, "2.5"),
]


@pytest.mark.parametrize("name", TYPE_NAMES, ids=repr)
async def test_a_type_name_with_tricks_is_refused(name: str, tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    async with connect(url) as queue:
        with pytest.raises(InvalidError, match="type"):
            await queue.submit(name, 1)
        with pytest.raises(InvalidError, match="type"):
            await queue.submit_many(name, [1])
    assert await stored(url) == 0


@pytest.mark.parametrize("name", TASK_IDS, ids=lambda name: repr(name)[:40])
async def test_an_id_with_tricks_is_refused(name: str) -> None:
    async with connect("memory:") as queue:
        for asked in (queue.get(name), queue.history(name), queue.wait(name, timeout=1)):
            with pytest.raises((InvalidError, NotFoundError)) as caught:
                await asked
            assert "id" in str(caught.value) or "task" in str(caught.value)


@pytest.mark.parametrize(("options", "named"), OPTIONS, ids=lambda value: str(value)[:60])
async def test_an_option_out_of_range_is_named(options: dict[str, Any], named: str, tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    async with connect(url) as queue:
        with pytest.raises(InvalidError) as caught:
            await queue.submit("work", 1, **options)
    assert named in str(caught.value)
    assert await stored(url) == 0


@pytest.mark.parametrize(
    "values", [{"multiplier": 0.5}, {"jitter": 2}, {"initial": -1}, {"max": "never"}, {"max_retries": -1}], ids=str
)
def test_a_retry_policy_out_of_range_cannot_be_made(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidError, match=next(iter(values))):
        RetryPolicy(**values)


NO_JSON = {
    "nan": float("nan"),
    "inf": float("inf"),
    "object": object(),
    "lambda": lambda: 0,
    "key": {1j: 2},
    "set": [{3j}],
}


@pytest.mark.parametrize("value", NO_JSON.values(), ids=NO_JSON)
async def test_what_is_no_json_is_refused(value: object, tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    async with connect(url) as queue:
        with pytest.raises(EncodeError):
            await queue.submit("work", value)
        with pytest.raises(EncodeError, match="input 1"):
            await queue.submit_many("work", [1, value])
    assert await stored(url) == 0


async def test_an_input_over_the_limit_is_refused_with_the_limit(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    async with connect(url) as queue:
        big = b'"' + b"x" * (4096 * KIB - 1) + b'"'
        calls: list[Any] = [_ops.submit("work", big, SubmitOptions())]
        calls.append(_ops.submit_many("work", [b"1", big], SubmitOptions()))
        for call in calls:
            with pytest.raises(InvalidError, match="4194304"):
                await queue.client.call_async(call)
        await queue.submit("work", "x" * (4096 * KIB - 2))  # with its quotes just the limit
    assert await stored(url) == 1


async def test_what_the_engine_refuses_as_too_large_python_stores_in_pieces() -> None:
    async with connect("memory:") as queue:
        worker = Worker(queue)

        @worker.task("big")
        async def big(text: str) -> str:
            return text * 2

        async with worker:
            handle = await queue.submit("big", "x" * 5_000 * KIB, max_retries=0)
            assert len(await handle.result_async(timeout=60)) == 10_000 * KIB


def test_wrong_arguments_are_refused_at_submit(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path}/queue.db"
    app = Buquet(url)

    @app.task
    def resize(path: str, size: int = 1) -> str:
        return f"{path}{size}"

    anything: Any = resize
    with pytest.raises(ArgumentError, match="colour"):
        anything.submit("a", colour=1)
    with pytest.raises(ArgumentError, match="path"):
        anything.submit()
    with pytest.raises(InvalidError, match="size"):
        anything.submit("a", size="large")
    app.close()
    assert asyncio.run(stored(url)) == 0


URLS = [
    ("ftp://somewhere/x", "ftp"),
    ("nonsense", "nonsense"),
    ("", ""),
    ("s3://", "s3://BUCKET"),
    ("s3://Bad_Bucket!/x", "bucket"),
    ("s3://bucket/a//b", "prefix"),
    ("s3://bucket/%2e%2e/x%00", "prefix"),
    ("s3://bucket/x?regoin=eu-central-1", "regoin"),
    ("s3://bucket/x?endpoint=ftp://h", "endpoint"),
    ("sqlite:", "sqlite"),
    ("memory:extra", "memory"),
]


@pytest.mark.parametrize(("url", "named"), URLS, ids=repr)
async def test_a_wrong_url_is_refused_with_what_is_allowed(url: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await connect(url)
    assert named in str(caught.value)


async def test_a_secret_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        await connect("s3://AKIAEXAMPLE:hunter2@bucket/x")
    assert "hunter2" not in str(caught.value)


async def test_an_unwritable_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BuquetError, match=str(tmp_path)) as caught:
        await connect(f"sqlite:{tmp_path}/file/queue.db")
    assert caught.value.code in {"denied", "config", "unavailable"}


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("remember the milk\n" * 100)
    with pytest.raises(BuquetError, match=r"notes\.txt"):
        await connect(f"sqlite:{path}")
    assert path.read_text() == "remember the milk\n" * 100


async def test_a_missing_bucket_is_named(any_bucket: Bucket) -> None:
    missing = Bucket(endpoint=any_bucket.endpoint, name="no-such-bucket-here")
    with pytest.raises(DeniedError, match="no-such-bucket-here"):
        await connect(missing.url())


async def test_wrong_credentials_are_said_to_be_wrong(bucket: Bucket, open_proxy: Callable[..., Proxy]) -> None:
    proxy = open_proxy(bucket.endpoint, Faults(answer_403=1.0))  # neither test server checks them
    with pytest.raises(DeniedError, match=r"(?i)credential|signature|secret"):
        await connect(bucket.url(through=proxy.url))
    assert bucket.keys() == []


async def test_a_server_that_is_not_there_is_unavailable(bucket: Bucket, silent_port: int) -> None:
    gone = f"http://127.0.0.1:{silent_port}"
    with pytest.raises(UnavailableError, match=gone.removeprefix("http://")):
        await connect(bucket.url(through=gone))


async def test_a_store_that_ignores_conditions_is_refused_by_name(
    any_bucket: Bucket, open_proxy: Callable[..., Proxy]
) -> None:
    proxy = open_proxy(any_bucket.endpoint, Faults(drop_conditions=True))
    with pytest.raises(UnsupportedError, match=r"If-None-Match|conditional"):
        await connect(any_bucket.url(through=proxy.url))
    stored = any_bucket.keys("queue/")
    assert not [key for key in stored if key.startswith("queue/tasks/") or key == "queue/buquet.json"]


async def test_a_newer_layout_is_left_alone(bucket: Bucket) -> None:
    async with connect(bucket.url()) as queue:
        await queue.submit("work", 1)
    marker = json.loads(bucket.get("queue/buquet.json"))
    bucket.put("queue/buquet.json", json.dumps(marker | {"format": marker["format"] + 1}).encode())
    before = bucket.keys()
    with pytest.raises(LayoutError, match="upgrade"):
        await connect(bucket.url())
    assert bucket.keys() == before


async def test_unknown_profiles_and_keys_in_the_file_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".buquet.toml").write_text('[default]\nurl = "memory:"\n')
    async with connect() as queue:
        assert ".buquet.toml" in (await queue.info()).source
    with pytest.raises(ConfigError, match="nosuch"):
        await connect(profile="nosuch")
    (tmp_path / ".buquet.toml").write_text('[default]\nurll = "memory:"\n')
    with pytest.raises(ConfigError, match=r"\.buquet\.toml"):
        await connect()


async def test_an_unknown_keyword_is_a_type_error() -> None:
    anything: Any = connect
    with pytest.raises(TypeError):
        anything("memory:", retrys=5)
    async with connect("memory:") as queue:
        submit: Any = queue.submit
        with pytest.raises(TypeError):
            await submit("work", 1, retrys=5)


async def test_a_queue_that_was_closed_says_so() -> None:
    queue = await connect("memory:")
    await queue.close()
    with contextlib.suppress(BuquetError):
        await queue.close()
    with pytest.raises(BuquetError) as caught:
        await queue.submit("work", 1)
    assert caught.value.code == "closed"
