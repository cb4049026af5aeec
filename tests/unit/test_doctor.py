"""What the command makes of the doctor's findings: pages put together, exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from buquet import Buquet, Check, CheckStatus, Diagnosis
from buquet._models import RequestCounts
from buquet.cli import _doctor
from buquet.cli._output import ExitCode

if TYPE_CHECKING:
    from buquet._client import Client


def page(status: str, read: int, cursor: str | None, *corrupt: str, what: str = "") -> Diagnosis:
    """A page of records."""
    details: dict[str, Any] = {"read": read, "corrupt": list(corrupt)}
    check = Check(name="records", status=CheckStatus(status), what=what, details=details)
    return Diagnosis(
        status=check.status, url="fake:", checks=[check], requests=RequestCounts(get=read, list=1), cursor=cursor
    )


class Pages:
    """A client that answers with one page after the other."""

    def __init__(self, *pages: Diagnosis) -> None:
        self._pages = iter(pages)

    def call(self, _: object) -> Diagnosis:
        return next(self._pages)


def whole(first: Diagnosis, *more: Diagnosis) -> Diagnosis:
    return _doctor._read_on(cast("Client", Pages(*more)), first)  # pyright: ignore[reportPrivateUsage]


def test_pages_are_put_together() -> None:
    found = whole(page("ok", 500, "a"), page("ok", 500, "b"), page("ok", 7, None))
    records = found.check("records")
    assert (records.what, records.details["read"], found.cursor) == ("1,007 records read, all sound", 1007, None)
    assert (found.requests.get, found.requests.list) == (1007, 3)


def test_the_worst_page_counts_and_all_that_is_corrupt_is_named() -> None:
    found = whole(page("ok", 5, "a"), page("failed", 5, "b", "x", what="x is bad"), page("failed", 5, None, "y"))
    assert found.status is CheckStatus.FAILED
    assert found.check("records").what == "x is bad"
    assert found.check("records").details["corrupt"] == ["x", "y"]


def test_a_store_that_stops_answering_ends_the_reading() -> None:
    found = whole(page("ok", 5, "a"), page("warning", 0, "a", what="no answer"))
    assert (found.status, found.cursor) == (CheckStatus.WARNING, "a")


@pytest.mark.parametrize(
    ("status", "kind", "strict", "code"),
    [
        ("ok", None, True, ExitCode.OK),
        ("warning", None, False, ExitCode.OK),
        ("warning", None, True, ExitCode.ERROR),
        ("failed", None, False, ExitCode.ERROR),
        ("failed", "unavailable", False, ExitCode.UNAVAILABLE),
        ("failed", "denied", False, ExitCode.DENIED),
    ],
)
def test_the_exit_code_tells_how_it_came_out(status: str, kind: str | None, strict: bool, code: ExitCode) -> None:  # noqa: FBT001
    details = {} if kind is None else {"kind": kind}
    check = Check(name="store", status=CheckStatus(status), what="", details=details)
    found = Diagnosis(status=check.status, url="fake:", checks=[check], requests=RequestCounts())
    assert _doctor._exit_code(found, strict=strict) is code  # pyright: ignore[reportPrivateUsage]


def test_an_app_asks_the_doctor(app: Buquet) -> None:
    diagnosis = app.doctor()
    assert diagnosis.check("store").what == "it answers"
    with pytest.raises(KeyError):
        diagnosis.check("nothing")
