"""Derived schemas as the engine enforces them: on large bytes, files, and types that have no schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pydantic
import pytest

from buquet import Buquet, File, InvalidError, _ops
from buquet._options import submit_options

if TYPE_CHECKING:
    from pathlib import Path

BIG = bytes(100_000)


class Leaf(pydantic.BaseModel):
    weight: int


class Tree(pydantic.BaseModel):
    """Refers to itself and to another: pydantic puts both into definitions."""

    leaves: list[Leaf] = []
    branches: list[Tree] = []


@dataclass
class Leaflet:
    scan: File
    small: bytes


@pytest.fixture
def app(tmp_path: Path) -> Buquet:
    """An app with a queue of the test's own."""
    return Buquet(f"sqlite:{tmp_path}/q.db")


def submit(app: Buquet, kind: str, value: Any) -> None:
    """Submit as one who does not know the function."""
    app.queue.client.call(_ops.submit(kind, json.dumps(value).encode(), submit_options()))


@pytest.mark.parametrize("size", [3, 100_000])
def test_bytes_of_any_size_fit_the_derived_schema_and_others_do_not(app: Buquet, size: int) -> None:
    @app.task(schema=True)
    def flip(data: bytes, more: bytes | None = None) -> bytes:
        return data[::-1] + (more or b"")

    with app.worker():
        assert flip.submit(bytes(size)).result(timeout=60) == bytes(size)
        assert flip.submit(b"x", more=bytes(size)).result(timeout=60) == b"x" + bytes(size)
        for wrong in (5, {"$buquet": {"file": 0}}, {"$buquet": {"bytes": 0}, "x": 1}, {}):
            with pytest.raises(InvalidError, match="at /data"):
                submit(app, "flip", {"data": wrong})


def test_files_fit_the_derived_schema_wherever_they_are(app: Buquet, tmp_path: Path) -> None:
    source = tmp_path / "in.bin"
    source.write_bytes(BIG)

    @app.task(schema=True)
    def measure(whole: File, *parts: File, leaflet: Leaflet | None = None) -> File:
        size = len(whole.read()) + sum(len(part.read()) for part in parts)
        size += len(leaflet.scan.read()) if leaflet else 0
        out = tmp_path / "out.txt"
        out.write_text(str(size))
        return File(out)

    with app.worker():
        handle = measure.submit(File(source), File(source), leaflet=Leaflet(File(source), b"s"))
        assert handle.result(timeout=60).read() == b"300000"
        with pytest.raises(InvalidError, match="at /whole"):
            submit(app, "measure", {"whole": "in.bin"})


def test_models_are_held_to_their_own_schemas(app: Buquet) -> None:
    @app.task(schema=True)
    def weigh(tree: Tree, spare: Leaf | None = None) -> Tree:
        assert spare is None
        return tree

    tree = Tree(branches=[Tree(leaves=[Leaf(weight=3)])])
    with app.worker():
        assert weigh.submit(tree).result(timeout=60) == tree
        wrong: Any = {"tree": {"branches": [{"leaves": [{"weight": "much"}]}]}}
        with pytest.raises(InvalidError, match="at /tree/branches/0/leaves/0/weight"):
            submit(app, "weigh", wrong)
