"""Values are written alike in every process, and none is lost on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest

from buquet import Buquet, EncodeError
from buquet._codec import decode, encode
from tests.support.processes import clean_environment

ALIKE = """
import enum, sys
from dataclasses import dataclass
from typing import NamedTuple
import attrs, msgspec, pydantic
from buquet import Buquet
from buquet._codec import encode
from buquet._schemas import publishable

WORDS = {"a", "b", "c", "d", "e", "f", "ab"}

@dataclass(frozen=True, slots=True)
class Slotted:
    words: frozenset[str] = frozenset(WORDS)

class Frozen(msgspec.Struct, frozen=True, rename="camel", tag=True):
    some_words: frozenset[str] = frozenset(WORDS)

@attrs.frozen
class Attrs:
    words: object = frozenset(WORDS)

class Pair(NamedTuple):
    one: object
    other: object

class Item(pydantic.BaseModel, frozen=True):
    words: frozenset[str] = frozenset(WORDS)

class Model(pydantic.BaseModel):
    words: set[str] = pydantic.Field(default=WORDS, alias="theWords")
    items: set[Item] = {Item(), Item(words=frozenset("xyz"))}
    by_name: dict[str, set[str]] = {"a": WORDS}
    lists: list[frozenset[str]] = [frozenset(WORDS)]

    @pydantic.computed_field
    def more(self) -> set[str]:
        return {word * 2 for word in WORDS}

class Root(pydantic.RootModel[set[str]]):
    pass

app = Buquet("memory:")

@app.task(schema=True, tags=WORDS)
def task(words: frozenset[str] = frozenset(WORDS), d: Slotted = Slotted(), s: Frozen = Frozen()) -> None: ...

value = [
    WORDS, frozenset(WORDS), {"x": {"y": WORDS}}, [(1, WORDS)], {frozenset(WORDS), frozenset({"x"}), frozenset("yz")},
    {(1, frozenset(WORDS)), (2, frozenset("xyz"))}, {1, "1", None, 2.5, "a", b"a"}, Slotted(), {Slotted()}, Frozen(),
    Attrs(), Pair(WORDS, [WORDS]), Model(), {"model": [Model()]}, Root(WORDS), {"b": 1, "a": WORDS},
]
print(encode(value, "value").decode())
print(task.handler.signature.encode((), {}, whole=True).decode())
print(publishable([task.handler]))
print(task.submit().refresh().tags)
"""


def printed_with(seed: int) -> list[str]:
    command = [sys.executable, "-c", ALIKE]
    environment = clean_environment(PYTHONHASHSEED=str(seed))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_values_are_written_alike_whatever_the_hash_seed() -> None:
    first, second = printed_with(1), printed_with(2)
    assert first == second
    written = json.loads(first[0])
    assert written[0] == ["a", "ab", "b", "c", "d", "e", "f"]
    assert list(written[-1]) == ["b", "a"], "dicts keep their order"


class Colour(Enum):
    RED = "red"


@dataclass
class Bag:
    words: set[str]
    left: Any = None


class Aliased(pydantic.BaseModel):
    some_words: set[str] = pydantic.Field(alias="someWords")
    by_number: dict[int, set[int]] = {}


def test_values_with_sets_come_back_as_they_were_and_are_left_alone() -> None:
    bag = Bag({"b", "a"}, [1, {"x": frozenset({2, 1})}])
    assert decode(encode(bag, "value"), Bag, "value") == Bag({"a", "b"}, [1, {"x": [1, 2]}])
    assert bag == Bag({"b", "a"}, [1, {"x": frozenset({2, 1})}])
    model = Aliased(someWords={"b", "a"}, by_number={1: {3, 2}})
    assert encode(model, "value") == b'{"someWords":["a","b"],"by_number":{"1":[2,3]}}'
    assert decode(encode(model, "value"), Aliased, "value") == model


class AnyKeys(pydantic.BaseModel):
    named: dict[Any, int]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({1: "a", "1": "b"}, r"1 and '1'"),
        ({"x": [{"1": 0, 1: 0}]}, r"'1' and 1"),
        ({1.5: 0, "1.5": 0}, r"1\.5 and '1\.5'"),
        ({Colour.RED: 0, "red": 0}, r"<Colour.RED: 'red'> and 'red'"),
        ({UUID(int=1): 0, str(UUID(int=1)): 0}, "UUID"),
        ({date(2026, 1, 2): 0, "2026-01-02": 0}, "date"),
        (Bag(set(), {1: 0, "1": 0}), "1 and '1'"),
        (AnyKeys(named={1: 0, "1": 0}), "1 and '1'"),
        ([AnyKeys(named={1: 0, "1": 0})], "1 and '1'"),
    ],
)
def test_keys_that_become_the_same_are_refused(value: object, names: str) -> None:
    with pytest.raises(EncodeError, match=rf"the keys .*{names}.* the same in JSON"):
        encode(value, "argument 'x'")


@pytest.mark.parametrize(
    "value",
    [{1: 0, 2: 0}, {1: 0, "2": 0}, {Decimal("1.0"): 0, "1": 0}, {date(2026, 1, 2): 0}, Counter("aab"), {Colour.RED: 1}],
)
def test_keys_that_differ_are_kept(value: dict[Any, int]) -> None:
    assert len(json.loads(encode(value, "value"))) == len(value)


@attrs.define
class Holder:
    words: set[str] = attrs.field(factory=set[str])


class Fields(msgspec.Struct):
    words: set[str] = msgspec.field(default_factory=set[str])


@dataclass
class Plain:
    words: set[str] = field(default_factory=set[str])


class Named(NamedTuple):
    words: set[str]


@pytest.mark.parametrize("kind", [Holder, Fields, Plain, Named])
def test_sets_in_objects_are_sorted(kind: Any) -> None:
    words = {str(n) for n in range(50)}
    written = json.loads(encode(kind(words), "value"))
    assert sorted(words) in (written if kind is Named else written.values())


def test_a_task_that_is_unique_by_a_set_is_submitted_once() -> None:
    app = Buquet("memory:")

    @app.task(unique=True)
    def tagged(tags: set[int]) -> None: ...

    @app.task
    def keyed(tags: frozenset[int]) -> None: ...

    one, other = {0, 8}, {8, 0}
    assert list(one) != list(other), "equal sets that are told apart by their order"
    assert tagged.submit(one).id == tagged.submit(other).id
    keys = [keyed.options(idempotency_key="k").submit(frozenset(numbers)) for numbers in (one, other)]
    assert [handle.created for handle in keys] == [True, False]
    app.close()
