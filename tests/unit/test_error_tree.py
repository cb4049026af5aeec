"""The tree of errors in the docs is the one that is raised."""

from __future__ import annotations

import inspect
import re

import buquet
from buquet import errors
from buquet.errors import BuquetError

LINE = re.compile(r"^    (?P<indent>[│ ├└─]*)(?P<name>\w+Error)(?: \(also (?P<also>\w+)\))?")
WIDTH = 4


def documented() -> dict[str, tuple[str | None, str | None]]:
    """Each class in the module's docstring, with its parent and its other base."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if found := LINE.match(line):
            depth = len(found["indent"]) // WIDTH
            del above[depth:]
            tree[found["name"]] = (above[-1] if above else None, found["also"])
            above.append(found["name"])
    return tree


def raised() -> dict[str, tuple[str | None, str | None]]:
    """Each class that there is."""
    tree: dict[str, tuple[str | None, str | None]] = {}
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, BuquetError):
            parent, *also = kind.__bases__
            tree[name] = (parent.__name__ if parent is not Exception else None, also[0].__name__ if also else None)
    return tree


def test_the_documented_tree_of_errors_is_complete_and_true() -> None:
    assert documented() == raised()


def test_every_error_is_exported_by_the_package() -> None:
    assert set(errors.__all__) == set(raised())
    assert set(errors.__all__) <= set(buquet.__all__)


def test_the_codes_are_those_that_the_docs_tell() -> None:
    kinds: list[type[BuquetError]] = [getattr(errors, name) for name in errors.__all__]
    own = [kind.code for kind in kinds if "code" in vars(kind)]
    assert len(set(own)) == len(own)
    shared = {kind.__name__: kind.code for kind in kinds if "code" not in vars(kind)}
    assert shared == {
        "ArgumentError": "invalid",
        "EncodeError": "invalid",
        "CodecError": "decode",
        "RetryableError": "handler",
        "PermanentError": "handler",
        "RescheduleError": "handler",
    }
