"""What `buquet dev` answers to boto3, request by request."""

from __future__ import annotations

import base64
import hashlib
import urllib.error
import urllib.request
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.dev import DevServer, dev_server, new_bucket, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

WRONG_TAG = '"00000000000000000000000000000000"'
PART = 5 * 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with dev_server(tmp_path_factory.mktemp("dev")) as started:
        yield started


@pytest.fixture(scope="module")
def s3(server: DevServer) -> Any:
    return server.client()


@pytest.fixture
def bucket(s3: Any) -> str:
    return new_bucket(s3)


def body_of(s3: Any, bucket: str, key: str, **options: Any) -> bytes:
    return s3.get_object(Bucket=bucket, Key=key, **options)["Body"].read()


def fetch(url: str, *, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": ""})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class TestConditions:
    def test_if_none_match_writes_only_where_nothing_is(self, s3: Any, bucket: str) -> None:
        name = {"Bucket": bucket, "Key": "k"}
        assert outcome(s3.put_object, **name, Body=b"1", IfNoneMatch="*") == (200, "")
        assert outcome(s3.put_object, **name, Body=b"2", IfNoneMatch="*") == (412, "PreconditionFailed")
        assert body_of(s3, bucket, "k") == b"1"
        s3.delete_object(**name)
        assert outcome(s3.put_object, **name, Body=b"3", IfNoneMatch="*") == (200, "")

    def test_if_match_writes_only_over_that_object(self, s3: Any, bucket: str) -> None:
        name = {"Bucket": bucket, "Key": "k"}
        first = s3.put_object(**name, Body=b"1")["ETag"]
        assert first == f'"{hashlib.md5(b"1", usedforsecurity=False).hexdigest()}"'
        assert outcome(s3.put_object, **name, Body=b"2", IfMatch=first) == (200, "")
        assert outcome(s3.put_object, **name, Body=b"3", IfMatch=first) == (412, "PreconditionFailed")
        assert outcome(s3.put_object, Bucket=bucket, Key="none", Body=b"3", IfMatch=first) == (404, "NoSuchKey")
        assert body_of(s3, bucket, "k") == b"2"

    def test_a_deletion_can_be_conditional(self, s3: Any, bucket: str) -> None:
        name = {"Bucket": bucket, "Key": "k"}
        tag = s3.put_object(**name, Body=b"1")["ETag"]
        assert outcome(s3.delete_object, **name, IfMatch=WRONG_TAG)[0] == 412
        assert body_of(s3, bucket, "k") == b"1"
        assert outcome(s3.delete_object, **name, IfMatch=tag)[0] == 204
        assert outcome(s3.head_object, **name)[0] == 404

    def test_a_copy_can_be_conditional(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="from", Body=b"1", Metadata={"a": "b"})
        copy = {"Bucket": bucket, "Key": "to", "CopySource": f"{bucket}/from"}
        assert outcome(s3.copy_object, **copy) == (200, "")
        assert s3.head_object(Bucket=bucket, Key="to")["Metadata"] == {"a": "b"}
        assert outcome(s3.copy_object, **copy, CopySourceIfMatch=WRONG_TAG)[0] == 412
        replaced = {"MetadataDirective": "REPLACE", "Metadata": {"c": "d"}}
        assert outcome(s3.copy_object, **copy, **replaced) == (200, "")
        assert s3.head_object(Bucket=bucket, Key="to")["Metadata"] == {"c": "d"}

    def test_an_object_that_is_known_is_not_sent_again(self, s3: Any, bucket: str) -> None:
        name = {"Bucket": bucket, "Key": "k"}
        tag = s3.put_object(**name, Body=b"1")["ETag"]
        assert outcome(s3.get_object, **name, IfNoneMatch=tag)[0] == 304
        assert outcome(s3.get_object, **name, IfNoneMatch=WRONG_TAG)[0] == 200
        assert outcome(s3.get_object, **name, IfMatch=WRONG_TAG)[0] == 412
        modified = s3.head_object(**name)["LastModified"]
        assert outcome(s3.get_object, **name, IfModifiedSince=modified)[0] == 304
        assert outcome(s3.get_object, **name, IfUnmodifiedSince=modified)[0] == 200


class TestReading:
    def test_ranges_give_parts_of_the_body(self, s3: Any, bucket: str) -> None:
        content = bytes(range(256))
        s3.put_object(Bucket=bucket, Key="k", Body=content)
        for wanted, given in {
            "bytes=10-19": content[10:20],
            "bytes=250-": content[250:],
            "bytes=-6": content[250:],
            "bytes=200-900": content[200:],
        }.items():
            answer = s3.get_object(Bucket=bucket, Key="k", Range=wanted)
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
            assert answer["Body"].read() == given
            assert answer["ContentRange"].endswith("/256")
        assert outcome(s3.get_object, Bucket=bucket, Key="k", Range="bytes=256-") == (416, "InvalidRange")

    def test_headers_and_metadata_come_back(self, s3: Any, bucket: str) -> None:
        given = {
            "ContentType": "text/plain",
            "CacheControl": "no-store",
            "ContentDisposition": "inline",
            "ContentEncoding": "identity",
            "ContentLanguage": "en",
            "Metadata": {"owner": "Ada", "lease-until": "12345"},
        }
        s3.put_object(Bucket=bucket, Key="k", Body=b"1", **given)
        for read in (s3.head_object, s3.get_object):
            answer = read(Bucket=bucket, Key="k")
            assert {name: answer[name] for name in given} == given
            assert "date" in answer["ResponseMetadata"]["HTTPHeaders"]

    def test_what_is_missing_is_named(self, s3: Any, bucket: str) -> None:
        assert outcome(s3.get_object, Bucket=bucket, Key="none") == (404, "NoSuchKey")
        assert outcome(s3.get_object, Bucket="no-such-bucket", Key="k") == (404, "NoSuchBucket")
        assert outcome(s3.put_object, Bucket="no-such-bucket", Key="k", Body=b"") == (404, "NoSuchBucket")
        assert outcome(s3.head_bucket, Bucket="no-such-bucket")[0] == 404


class TestVersions:
    def test_every_write_is_a_version_and_a_deletion_a_marker(self, s3: Any, bucket: str) -> None:
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        names = [s3.put_object(Bucket=bucket, Key="k", Body=b"%d" % n)["VersionId"] for n in range(3)]
        assert [body_of(s3, bucket, "k", VersionId=name) for name in names] == [b"0", b"1", b"2"]
        deleted = s3.delete_object(Bucket=bucket, Key="k")
        assert deleted["DeleteMarker"]
        assert outcome(s3.get_object, Bucket=bucket, Key="k") == (404, "NoSuchKey")
        marker = {"Bucket": bucket, "Key": "k", "VersionId": deleted["VersionId"]}
        assert outcome(s3.get_object, **marker)[0] == 405

        listed = s3.list_object_versions(Bucket=bucket)
        assert [version["VersionId"] for version in listed["Versions"]] == names[::-1]
        assert [(each["VersionId"], each["IsLatest"]) for each in listed["DeleteMarkers"]] == [
            (deleted["VersionId"], True)
        ]
        assert s3.delete_object(**marker)["DeleteMarker"]
        assert body_of(s3, bucket, "k") == b"2"
        s3.delete_object(Bucket=bucket, Key="k", VersionId=names[1])
        assert outcome(s3.get_object, Bucket=bucket, Key="k", VersionId=names[1]) == (404, "NoSuchVersion")

    @pytest.mark.parametrize("size", [1, 2, 3, 100])
    def test_pages_of_versions_put_together_are_all_versions(self, s3: Any, bucket: str, size: int) -> None:
        for key in ("a", "b/c", "b/d"):
            for n in range(3):
                s3.put_object(Bucket=bucket, Key=key, Body=b"%d" % n)
        s3.delete_object(Bucket=bucket, Key="b/c")
        pages = s3.get_paginator("list_object_versions").paginate(
            Bucket=bucket, Prefix="b/", PaginationConfig={"PageSize": size}
        )
        found = [each for page in pages for each in page.get("Versions", []) + page.get("DeleteMarkers", [])]
        assert len({each["VersionId"] for each in found}) == len(found) == 7
        assert {each["Key"] for each in found} == {"b/c", "b/d"}

    def test_versioning_can_be_asked_for_but_not_suspended(self, s3: Any, bucket: str) -> None:
        def ask(status: str) -> tuple[int, str]:
            return outcome(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": status})

        assert ask("Enabled") == (200, "")
        assert ask("Suspended") == (501, "NotImplemented")


class TestListing:
    KEYS = (*(f"l/{folder}/{n:03}" for folder in "abc" for n in range(8)), "l/x y+z&é", "l/zz")

    @pytest.fixture
    def filled(self, s3: Any, bucket: str) -> str:
        for key in self.KEYS:
            s3.put_object(Bucket=bucket, Key=key, Body=b"1")
        return bucket

    def test_pages_follow_by_token(self, s3: Any, filled: str) -> None:
        pages = list(
            s3.get_paginator("list_objects_v2").paginate(Bucket=filled, Prefix="l/", PaginationConfig={"PageSize": 7})
        )
        assert [each["Key"] for page in pages for each in page["Contents"]] == sorted(self.KEYS, key=str.encode)
        assert [page["KeyCount"] for page in pages] == [7, 7, 7, 5]

    @pytest.mark.parametrize("after", ["l/b/003", "l/b/003x", "a", "z"])
    def test_a_listing_begins_after_a_key_that_may_be_missing(self, s3: Any, filled: str, after: str) -> None:
        listed = s3.list_objects_v2(Bucket=filled, Prefix="l/", StartAfter=after)
        assert [each["Key"] for each in listed.get("Contents", [])] == [key for key in self.KEYS if key > after]

    @pytest.mark.parametrize("version", ["list_objects", "list_objects_v2"])
    def test_a_delimiter_makes_groups_on_any_page_size(self, s3: Any, filled: str, version: str) -> None:
        for size in (1, 2, 1000):
            pages = s3.get_paginator(version).paginate(
                Bucket=filled, Prefix="l/", Delimiter="/", PaginationConfig={"PageSize": size}
            )
            found = [
                (
                    [each["Prefix"] for each in page.get("CommonPrefixes", [])],
                    [each["Key"] for each in page.get("Contents", [])],
                )
                for page in pages
            ]
            assert [name for groups, _ in found for name in groups] == ["l/a/", "l/b/", "l/c/"]
            assert [key for _, keys in found for key in keys] == ["l/x y+z&é", "l/zz"]

    def test_what_is_listed_is_what_is_there(self, s3: Any, filled: str) -> None:
        (listed,) = s3.list_objects(Bucket=filled, Prefix="l/zz")["Contents"]
        head = s3.head_object(Bucket=filled, Key="l/zz")
        assert (listed["ETag"], listed["Size"]) == (head["ETag"], head["ContentLength"])


class TestBuckets:
    def test_a_bucket_is_deleted_once_it_is_empty(self, s3: Any, bucket: str) -> None:
        assert bucket in [each["Name"] for each in s3.list_buckets()["Buckets"]]
        version = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
        assert outcome(s3.delete_bucket, Bucket=bucket) == (409, "BucketNotEmpty")
        s3.delete_object(Bucket=bucket, Key="k", VersionId=version)
        assert outcome(s3.delete_bucket, Bucket=bucket) == (204, "")
        assert outcome(s3.head_bucket, Bucket=bucket)[0] == 404

    def test_a_bucket_is_made_once(self, s3: Any, bucket: str) -> None:
        assert outcome(s3.create_bucket, Bucket=bucket) == (409, "BucketAlreadyOwnedByYou")

    def test_many_keys_are_deleted_at_once(self, s3: Any, bucket: str) -> None:
        keys = [f"many/{n}" for n in range(30)]
        for key in keys:
            s3.put_object(Bucket=bucket, Key=key, Body=b"1")
        wanted = {"Objects": [{"Key": key} for key in [*keys, "many/none"]]}
        assert len(s3.delete_objects(Bucket=bucket, Delete=wanted)["Deleted"]) == 31
        assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


class TestSignatures:
    def test_a_wrong_secret_is_refused(self, server: DevServer) -> None:
        stranger = server.client(secret=server.variables["AWS_ACCESS_KEY_ID"])
        assert outcome(stranger.list_buckets) == (403, "SignatureDoesNotMatch")

    def test_a_request_without_a_signature_is_refused(self, server: DevServer, bucket: str) -> None:
        assert fetch(f"{server.endpoint}/{bucket}")[0] == 403

    def test_a_presigned_url_needs_no_secret(self, s3: Any, bucket: str) -> None:
        name = {"Bucket": bucket, "Key": "k"}
        assert fetch(s3.generate_presigned_url("put_object", Params=name), method="PUT", body=b"up")[0] == 200
        url = s3.generate_presigned_url("get_object", Params=name)
        assert fetch(url) == (200, b"up")
        assert fetch(url.replace("/k?", "/other?"))[0] == 403, "it is good for one object"

    def test_a_presigned_url_expires(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"1")
        url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=-1)
        assert fetch(url)[0] == 403


class TestChecksums:
    def test_a_right_checksum_is_kept_and_told(self, s3: Any, bucket: str) -> None:
        right = base64.b64encode(zlib.crc32(b"abc").to_bytes(4, "big")).decode()
        name = {"Bucket": bucket, "Key": "k"}
        assert s3.put_object(**name, Body=b"abc", ChecksumCRC32=right)["ChecksumCRC32"] == right
        assert s3.head_object(**name, ChecksumMode="ENABLED")["ChecksumCRC32"] == right

    @pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
    def test_checksums_of_the_client_are_checked(self, s3: Any, bucket: str, algorithm: str) -> None:
        name = {"Bucket": bucket, "Key": "k"}
        s3.put_object(**name, Body=b"abc", ChecksumAlgorithm=algorithm)
        assert body_of(s3, bucket, "k") == b"abc"
        wrong = {f"Checksum{algorithm}": base64.b64encode(b"\0" * {"CRC32": 4, "SHA1": 20, "SHA256": 32}[algorithm])}
        status, code = outcome(
            s3.put_object, **name, Body=b"xyz", **{key: value.decode() for key, value in wrong.items()}
        )
        assert (status, code) == (400, "BadDigest")
        assert body_of(s3, bucket, "k") == b"abc"

    def test_a_wrong_md5_is_refused(self, s3: Any, bucket: str) -> None:
        wrong = base64.b64encode(b"\0" * 16).decode()
        assert outcome(s3.put_object, Bucket=bucket, Key="k", Body=b"abc", ContentMD5=wrong) == (400, "BadDigest")

    def test_a_stream_comes_in_chunks_with_its_checksum_behind(self, s3: Any, bucket: str, tmp_path: Any) -> None:
        (tmp_path / "file").write_bytes(b"streamed" * 50_000)
        s3.upload_file(str(tmp_path / "file"), bucket, "k")
        assert body_of(s3, bucket, "k") == b"streamed" * 50_000


class TestParts:
    def test_a_large_object_is_put_together_from_its_parts(self, s3: Any, bucket: str) -> None:
        contents = [bytes([n]) * PART for n in range(2)] + [b"tail"]
        upload = start_upload(s3, bucket)
        parts = [put_part(s3, upload, n, content) for n, content in enumerate(contents, 1)]
        listed = s3.list_parts(**upload)["Parts"]
        assert [(part["PartNumber"], part["Size"]) for part in listed] == [(1, PART), (2, PART), (3, 4)]
        done = s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        assert done["ETag"].endswith('-3"')
        answer = s3.get_object(Bucket=bucket, Key="k")
        assert (answer["Body"].read(), answer["Metadata"]) == (b"".join(contents), {"a": "b"})
        assert outcome(s3.list_parts, **upload) == (404, "NoSuchUpload")

    def test_completion_can_be_conditional(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"1")
        upload = start_upload(s3, bucket)
        parts = {"Parts": [put_part(s3, upload, 1, b"x")]}
        assert outcome(s3.complete_multipart_upload, **upload, MultipartUpload=parts, IfNoneMatch="*")[0] == 412
        assert body_of(s3, bucket, "k") == b"1"
        assert outcome(s3.complete_multipart_upload, **upload, MultipartUpload=parts)[0] == 200
        again = outcome(s3.complete_multipart_upload, **upload, MultipartUpload=parts)
        assert again[0] == 200, "whoever lost the answer may ask again"
        other = {"Parts": [{"PartNumber": 1, "ETag": '"00000000000000000000000000000000"'}]}
        assert outcome(s3.complete_multipart_upload, **upload, MultipartUpload=other) == (404, "NoSuchUpload")

    def test_what_is_not_served_is_refused_and_not_dropped(self, s3: Any, bucket: str) -> None:
        for options in ({"Tagging": "a=b"}, {"ACL": "public-read"}, {"ServerSideEncryption": "AES256"}):
            assert outcome(s3.put_object, Bucket=bucket, Key="k", Body=b"", **options) == (501, "NotImplemented")
        assert outcome(s3.head_object, Bucket=bucket, Key="k")[0] == 404

    def test_bytes_without_a_type_have_the_one_that_s3_gives_them(self, s3: Any, bucket: str) -> None:
        s3.put_object(Bucket=bucket, Key="k", Body=b"")
        assert s3.head_object(Bucket=bucket, Key="k")["ContentType"] == "binary/octet-stream"
        assert outcome(s3.get_object, Bucket=bucket, Key="k", Range="bytes=-5") == (416, "InvalidRange")

    def test_wrong_parts_are_refused(self, s3: Any, bucket: str) -> None:
        upload = start_upload(s3, bucket)
        small = [put_part(s3, upload, n, b"x") for n in (1, 2)]
        for parts, code in (
            (small, "EntityTooSmall"),
            (small[::-1], "InvalidPartOrder"),
            ([{"PartNumber": 1, "ETag": WRONG_TAG}], "InvalidPart"),
            ([{"PartNumber": 9, "ETag": WRONG_TAG}], "InvalidPart"),
        ):
            told = outcome(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts})
            assert told == (400, code)

    def test_an_upload_given_up_is_gone(self, s3: Any, bucket: str) -> None:
        upload = start_upload(s3, bucket)
        part = put_part(s3, upload, 1, b"x")
        s3.abort_multipart_upload(**upload)
        told = outcome(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": [part]})
        assert told == (404, "NoSuchUpload")
        assert outcome(s3.head_object, Bucket=bucket, Key="k")[0] == 404


def start_upload(s3: Any, bucket: str) -> dict[str, str]:
    name = {"Bucket": bucket, "Key": "k"}
    return {**name, "UploadId": s3.create_multipart_upload(**name, Metadata={"a": "b"})["UploadId"]}


def put_part(s3: Any, upload: dict[str, str], number: int, content: bytes) -> dict[str, Any]:
    return {"PartNumber": number, "ETag": s3.upload_part(**upload, PartNumber=number, Body=content)["ETag"]}
