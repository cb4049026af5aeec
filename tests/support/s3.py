"""A bucket on a test server, read and written past buquet. The servers check no signature, so none is sent."""

from __future__ import annotations

import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tests.support.directly import DIRECTLY

ENABLED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A bucket and the server it lies on."""

    endpoint: str
    name: str

    def url(self, prefix: str = "queue", *, through: str | None = None) -> str:
        """Return the buquet URL of a queue in the bucket, reached `through` another endpoint where given."""
        options = urllib.parse.urlencode({"region": "us-east-1", "endpoint": through or self.endpoint})
        return f"s3://{self.name}/{prefix}?{options}"

    def keys(self, prefix: str = "") -> list[str]:
        """Return all keys under the prefix, in order."""
        found: list[str] = []
        after = ""
        while True:
            query = urllib.parse.urlencode({"list-type": "2", "prefix": prefix, "start-after": after})
            page = self._listing(query)
            keys = [element.text or "" for element in page.iter(f"{NAMESPACE}Key")]
            found += keys
            if not keys or page.findtext(f"{NAMESPACE}IsTruncated") != "true":
                return found
            after = keys[-1]

    def versions(self, prefix: str = "") -> list[tuple[str, bytes]]:
        """Return key and body of every version of every object under the prefix, oldest first within a key."""
        marks: dict[str, str] = {}
        found: list[list[str]] = []
        while True:
            query = urllib.parse.urlencode({"prefix": prefix, **marks})
            page = self._listing(f"versions&{query}")
            names = (f"{NAMESPACE}Key", f"{NAMESPACE}VersionId")
            found += [[entry.findtext(name) or "" for name in names] for entry in page.iter(f"{NAMESPACE}Version")]
            if page.findtext(f"{NAMESPACE}IsTruncated") != "true":
                break
            marks = {
                "key-marker": page.findtext(f"{NAMESPACE}NextKeyMarker") or "",
                "version-id-marker": page.findtext(f"{NAMESPACE}NextVersionIdMarker") or "",
            }
        found.reverse()  # S3 lists the newest of a key first
        return [(key, request("GET", f"{self._object(key)}?versionId={version}")) for key, version in found]

    def get(self, key: str) -> bytes:
        """Return an object's body."""
        return request("GET", self._object(key))

    def put(self, key: str, body: bytes) -> None:
        """Write an object, with no condition."""
        request("PUT", self._object(key), body)

    def delete(self, key: str) -> None:
        """Delete an object."""
        request("DELETE", self._object(key))

    def _listing(self, query: str) -> ET.Element:
        return ET.fromstring(request("GET", f"{self.endpoint}/{self.name}?{query}"))  # noqa: S314 - our own server

    def _object(self, key: str) -> str:
        return f"{self.endpoint}/{self.name}/{urllib.parse.quote(key)}"


def new_bucket(endpoint: str, *, versioned: bool = True) -> Bucket:
    """Make an empty bucket with a name of its own."""
    bucket = Bucket(endpoint=endpoint, name=f"test-{uuid4().hex[:16]}")
    request("PUT", f"{endpoint}/{bucket.name}")
    if versioned:
        _enable_versioning(bucket)
    return bucket


def _enable_versioning(bucket: Bucket) -> None:
    # LocalStack now and then reads an empty body while its first requests come in together.
    for remaining in reversed(range(5)):
        try:
            request("PUT", f"{bucket.endpoint}/{bucket.name}?versioning", ENABLED)
        except AssertionError as error:
            if remaining == 0 or "IllegalVersioningConfiguration" not in str(error):
                raise
        else:
            return


def request(method: str, url: str, body: bytes | None = None) -> bytes:
    """Send one request and return the answer's body; raises AssertionError with the server's words."""
    # Without a type of its own, urllib calls every body a form, and a server may take it for one.
    asked = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": "application/octet-stream"})
    try:
        with DIRECTLY.open(asked, timeout=30) as answer:
            content: Any = answer.read()
            return bytes(content)
    except urllib.error.HTTPError as error:
        message = f"{method} {url}: {error.code} {error.read().decode('utf-8', 'replace')}"
        raise AssertionError(message) from error
