"""The Go package by Go's own tools: its tests, its formatting, its vet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.callers import GO_MODULE, NO_GO, checked, go, has_go

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not has_go(), reason=NO_GO)


def test_it_passes_its_own_tests(shared_folder: Path) -> None:
    go(shared_folder, "test", "-race", "-count=1", "./...")


def test_vet_finds_nothing(shared_folder: Path) -> None:
    go(shared_folder, "vet", "./...")


def test_it_is_formatted() -> None:
    assert checked(["gofmt", "-l", GO_MODULE]) == ""
