"""What people see of stored values without their codecs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from buquet._chain import Chain, Marker, envelope
from buquet._models import Payload
from buquet._shown import shown, shown_error
from buquet.codecs import AesGcm, Zstd

KEY = b"the key that nobody may see!!!!!"
CHAIN = Chain((Zstd(), AesGcm({"2026-11": KEY}, primary="2026-11")))


def stored(**fields: Any) -> Any:
    return msgspec.json.decode(envelope(Marker(**fields)))


DATA = CHAIN.encode(b"secret", b"")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ({"a": ["b", 1.5]}, '{"a":["b",1.5]}'),
        (
            stored(codec=CHAIN.names, data=DATA),
            f"<{len(DATA)} bytes, sealed by zstd, aes-gcm with the key '2026-11'>",
        ),
        (stored(codec=["aes-gcm"], data=b"\x01"), "<1 bytes, sealed by aes-gcm>"),
        (stored(codec=["aes-gcm"], data=b"\x09?"), "<2 bytes, sealed by aes-gcm>"),
        (stored(codec=["aes-gcm"], data=b"\x01\xff?"), "<3 bytes, sealed by aes-gcm>"),
        (stored(codec=["own"], data=DATA), f"<{len(DATA)} bytes, sealed by own>"),
        (stored(codec=["zstd"], json=0, size=70_000), "<70000 bytes in a payload, sealed by zstd>"),
        ({"data": stored(blob=0, size=9)}, '{"data":"<9 bytes in a payload>"}'),
        ([stored(file=1, name="a.txt", size=9)], """["<file 'a.txt', 9 bytes in a payload>"]"""),
        ({"$buquet": {}}, '{"$buquet":{}}'),
        ({"$buquet": 1}, '{"$buquet":1}'),
        ({"$buquet": {"file": 0}, "and": "more"}, '{"$buquet":{"file":0},"and":"more"}'),
    ],
)
def test_values_are_shown_or_described(value: Any, text: str) -> None:
    assert shown(value) == text


def test_a_value_that_lies_elsewhere_is_not_null() -> None:
    payload = Payload(owner="o", id="p", bytes=200_000, pieces=1, sha256="s")
    assert shown(None, payload) == "<200000 bytes of JSON in a payload>"
    assert shown([], payload) == "[]"


def test_errors_are_shown_or_described() -> None:
    sealed = envelope(Marker(codec=CHAIN.names, data=DATA)).decode()
    assert shown_error(sealed) == f"<{len(DATA)} bytes, sealed by zstd, aes-gcm with the key '2026-11'>"
    deep = '{"$buquet":{"x":' + "[" * 5_000 + "]" * 5_000 + "}}"
    for message in ("", "no luck", '{"$buquet" is what it began with', '{"$buquet": {}}', "\ud800", deep):
        assert shown_error(message) == message
