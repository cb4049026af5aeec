"""What a submitter may tell about a task besides its input: tags, metadata, a parent, an expiry, and uniqueness."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, cast, get_args

from buquet._checks import parent_id
from buquet._durations import Duration, seconds, wire_duration, wire_time
from buquet._ids import HasId, id_of
from buquet._names import did_you_mean
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from datetime import datetime

Scope = Literal["type", "queue"]
On = Literal["success", "finished", "failure"]
After: TypeAlias = "str | HasId | Iterable[str | HasId]"

# The engine's limits, checked here too so that a decorator can refuse what a submit would.
TAGS = 16
TAG_CHARS = 64
KEY_CHARS = 256
METADATA_BYTES = 4 * 1024
_SHOWN = 64


class About(TypedDict, total=False):
    """Options of every submit.

    ``tags`` are up to 16 words to find the task by, ``metadata`` up to 4 KiB of text by name. ``parent`` is the
    task that it belongs to, or its id: in a handler the running one when left out, none at all with None.
    ``ttl`` (a duration) or ``expires_at`` (an aware datetime) say from when on it is too late to start it: then it
    ends as ``expired``. ``after`` is a task, a handle, a group or a collection of such that it waits for, and ``on``
    says whether it runs then: on their ``"success"`` (the default; otherwise it is cancelled, naming the one that did
    not complete), once all are ``"finished"``, or on the ``"failure"`` of one. ``delay`` counts from then.
    """

    tags: Iterable[str]
    metadata: Mapping[str, str]
    parent: str | HasId | None
    ttl: Duration
    expires_at: datetime
    after: After
    on: On


class AboutOne(About, total=False):
    """Options of the submit of a single task.

    ``idempotency_key`` (up to 256 characters), or the input itself with ``unique=True``, makes it the only one: a
    second submit gives the first's handle. ``unique=False`` takes back what the task was declared with.
    ``unique_scope`` says among which tasks: those of its ``"type"`` (the default) or all of the ``"queue"``;
    ``unique_window`` for how long after the first submit, a duration of 1 s or more (default: as long as it is
    stored).
    """

    idempotency_key: str
    unique: bool
    unique_scope: Scope
    unique_window: Duration


NAMES = frozenset(About.__annotations__) | frozenset(AboutOne.__annotations__)


def about_fields(
    options: About | AboutOne, declared: Mapping[str, Any] | None = None, *, beside: Collection[str] = ()
) -> dict[str, Any]:
    """Check these options and put them in the engine's terms.

    ``declared`` is what a task was made unique by already, if it was. ``beside`` are the names of all other options.

    :raises InvalidError: an option has the wrong type or contradicts another.
    :raises TypeError: there is no such option.
    """
    about = cast("AboutOne", options)
    if unknown := about.keys() - NAMES:
        name = min(unknown)
        message = f"unexpected keyword argument {name!r}{did_you_mean(name, NAMES.union(beside))}"
        raise TypeError(message)
    fields: dict[str, Any] = {}
    if "tags" in about:
        fields["tags"] = _texts(about["tags"])
    if "metadata" in about:
        fields["metadata"] = _metadata(about["metadata"])
    if "parent" in about:
        fields["parent"] = parent_id(about["parent"])
    if "ttl" in about and "expires_at" in about:
        raise InvalidError("give ttl= or expires_at=, not both")
    if "ttl" in about:
        fields["ttl"] = wire_duration(about["ttl"], "ttl")
        if seconds(about["ttl"], "ttl") == 0:
            raise InvalidError(f"ttl={about['ttl']!r} leaves no time to start the task; leave it out for no limit")
    if "expires_at" in about:
        fields["expires_at"] = wire_time(about["expires_at"], "expires_at")
    fields |= _waiting(about)
    unique = _unique(about, declared)
    if unique is not None or "unique" in about:
        fields["unique"] = unique
    return fields


def _waiting(about: AboutOne) -> dict[str, Any]:
    """What it waits for, and whether it runs then."""
    fields: dict[str, Any] = {}
    if "after" in about:
        fields["after"] = _after(about["after"])
    if "on" in about:
        fields["on"] = _on(about["on"])
    return fields


def _after(after: object) -> list[str]:
    """The ids of what is waited for: of one task, or of several."""
    if isinstance(after, str) or hasattr(after, "id"):
        return [id_of(cast("str | HasId", after))]
    if not isinstance(after, Iterable):
        raise InvalidError(f"after={after!r} must be a task, a handle, a group, or a collection of such or of ids")
    ids = [id_of(cast("str | HasId", task)) for task in cast("Iterable[object]", after)]
    if len(set(ids)) < len(ids):
        raise InvalidError(f"after= names task {max(ids, key=ids.count)} twice; give each task once")
    return ids


def _on(on: object) -> On:
    if on not in get_args(On):
        raise InvalidError(f"on={on!r} must be 'success', 'finished' or 'failure'")
    return cast("On", on)


def _unique(about: AboutOne, declared: Mapping[str, Any] | None) -> dict[str, Any] | None:
    known_by = _known_by(about, declared)
    bounds = _bounds(about)
    if known_by is None:
        if bounds:
            raise InvalidError(f"unique_{min(bounds)}= says nothing without unique=True or idempotency_key=")
        return None
    return {**known_by, **bounds}


def _known_by(about: AboutOne, declared: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    key, by_input = about.get("idempotency_key"), about.get("unique", False)
    if not isinstance(cast("object", by_input), bool):
        raise InvalidError(f"unique={by_input!r} must be True or False; a key of your own is idempotency_key=")
    if key is not None and by_input:
        raise InvalidError("give idempotency_key= or unique=True, not both: one says what the task is known by")
    if key is not None:
        return {"key": _key(key)}
    if by_input:
        return {}
    return declared if "unique" not in about else None  # what is declared stays, unless it is taken back here


def _bounds(about: AboutOne) -> dict[str, Any]:
    """Among which tasks, and for how long."""
    fields: dict[str, Any] = {}
    if "unique_scope" in about:
        scope = about["unique_scope"]
        if scope not in ("type", "queue"):
            raise InvalidError(f"unique_scope={scope!r} must be 'type' or 'queue'")
        fields["scope"] = scope
    if "unique_window" in about:
        window = about["unique_window"]
        fields["window"] = wire_duration(window, "unique_window")
        if seconds(window, "unique_window") < 1:
            raise InvalidError(f"unique_window={window!r} must be 1 s or more")
    return fields


def _key(value: object) -> str:
    key = _text(value, "idempotency_key")
    if not is_name(key, KEY_CHARS):
        raise InvalidError(
            f"idempotency_key={key[:_SHOWN]!r} must have 1 to {KEY_CHARS} characters, none of them a control character"
        )
    return key


def is_name(text: str, most: int) -> bool:
    """Whether a tag or a key can be this text."""
    return 1 <= len(text) <= most and not any(unicodedata.category(char) == "Cc" for char in text)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidError(f"{name}= must be text, not {type(value).__name__}")
    return value


def _texts(value: object) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidError(f"tags={value!r} must be a collection of texts")
    tags = [_text(tag, "each of tags") for tag in cast("Iterable[object]", value)]
    if isinstance(value, AbstractSet):
        tags.sort()  # a set has an order of its own in each process
    if len(tags) > TAGS:
        raise InvalidError(f"tags= has {len(tags)} of them; give up to {TAGS}")
    for tag in tags:
        if not is_name(tag, TAG_CHARS):
            raise InvalidError(
                f"{tag[:_SHOWN]!r} of tags= cannot be a tag: give 1 to {TAG_CHARS} characters, "
                "none of them a control character"
            )
    return tags


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidError(f"metadata= must map texts to texts, not be a {type(value).__name__}")
    pairs = cast("Mapping[object, object]", value).items()
    texts = {_text(name, "each name of metadata"): _text(text, "each value of metadata") for name, text in pairs}
    size = size_of(texts)
    if size > METADATA_BYTES:
        raise InvalidError(
            f"metadata= has {size} bytes of names and values; give up to {METADATA_BYTES}, "
            "and put what is larger into the input"
        )
    return texts


def size_of(metadata: Mapping[str, str]) -> int:
    """How many bytes count against the limit."""
    return sum(len(part.encode(errors="replace")) for pair in metadata.items() for part in pair)
