"""The fault proxy does to a real server's answers what it says: otherwise tests behind it prove nothing."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.support.directly import DIRECTLY
from tests.support.proxy import Faults, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.s3 import Bucket


def put(url: str, body: bytes, **headers: str) -> int:
    """Put an object and return the status."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = urllib.request.Request(url, data=body, method="PUT", headers=names)
    try:
        with DIRECTLY.open(asked, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_without_faults_it_passes_everything_through(bucket: Bucket, open_proxy: Callable[..., Proxy]) -> None:
    proxy = open_proxy(bucket.endpoint)
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
    body = bytes(range(256)) * 1000

    for n in range(3):  # on one connection, kept open
        connection.request("PUT", f"/{bucket.name}/{n}", body)
        assert connection.getresponse().read() == b""
    connection.request("GET", f"/{bucket.name}/1")
    answer = connection.getresponse()
    assert answer.read() == body
    connection.request("GET", f"/{bucket.name}/1", headers={"If-None-Match": str(answer.getheader("ETag"))})
    unchanged = connection.getresponse()
    assert unchanged.status == 304
    unchanged.read()
    connection.request("GET", f"/{bucket.name}?list-type=2&prefix=")
    assert b"<Key>2</Key>" in connection.getresponse().read()
    connection.request("DELETE", f"/{bucket.name}/2")
    connection.getresponse().read()
    connection.close()

    assert proxy.seen == {"put": 3, "get": 1, "not_modified": 1, "list": 1, "delete": 1}
    assert bucket.keys() == ["0", "1"]


def test_an_injected_error_never_reaches_the_server(bucket: Bucket, open_proxy: Callable[..., Proxy]) -> None:
    proxy = open_proxy(bucket.endpoint, Faults(answer_503=1.0))
    assert put(f"{proxy.url}/{bucket.name}/x", b"1") == 503
    assert proxy.injected == {"503": 1}
    assert not proxy.seen
    assert bucket.keys() == []


def test_a_break_before_loses_the_request(bucket: Bucket, open_proxy: Callable[..., Proxy]) -> None:
    proxy = open_proxy(bucket.endpoint, Faults(break_before=1.0))
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        put(f"{proxy.url}/{bucket.name}/x", b"1")
    assert bucket.keys() == []


def test_a_break_after_loses_only_the_answer(bucket: Bucket, open_proxy: Callable[..., Proxy]) -> None:
    proxy = open_proxy(bucket.endpoint, Faults(break_after=1.0))
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        put(f"{proxy.url}/{bucket.name}/x", b"1")
    assert bucket.get("x") == b"1"


def test_it_can_drop_the_conditions(bucket: Bucket, open_proxy: Callable[..., Proxy]) -> None:
    proxy = open_proxy(bucket.endpoint)
    bucket.put("x", b"1")
    assert put(f"{proxy.url}/{bucket.name}/x", b"2", If_None_Match="*") == 412
    proxy.faults = Faults(drop_conditions=True)
    assert put(f"{proxy.url}/{bucket.name}/x", b"2", If_None_Match="*") == 200
    assert bucket.get("x") == b"2"


def test_faults_come_as_often_as_asked(bucket: Bucket, open_proxy: Callable[..., Proxy]) -> None:
    proxy = open_proxy(bucket.endpoint, Faults(answer_500=0.5), seed=7)
    statuses = [put(f"{proxy.url}/{bucket.name}/{n}", b"x") for n in range(60)]
    assert statuses.count(500) == proxy.injected["500"] == 30
    assert statuses.count(200) == proxy.seen["put"] == 30
