"""What a submitter may tell about a task besides its input: tags, metadata, a parent, an expiry, and uniqueness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

from buquet._durations import Duration, wire_duration, wire_time
from buquet._ids import HasId, id_of
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from datetime import datetime

Scope = Literal["type", "queue"]


class About(TypedDict, total=False):
    """Options of every submit.

    ``tags`` are up to 16 words to find the task by, ``metadata`` up to 4 KiB of text by name. ``parent`` is the
    task that it belongs to, or its id: in a handler the running one when left out, none at all with None.
    ``ttl`` (a duration) or ``expires_at`` (an aware datetime) say from when on it is too late to start it: then it
    ends as ``expired``.
    """

    tags: Iterable[str]
    metadata: Mapping[str, str]
    parent: str | HasId | None
    ttl: Duration
    expires_at: datetime


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


def about_fields(options: About | AboutOne) -> dict[str, Any]:
    """Check these options and put them in the engine's terms.

    :raises InvalidError: an option has the wrong type or contradicts another.
    :raises TypeError: there is no such option.
    """
    about = cast("AboutOne", options)
    unknown = about.keys() - AboutOne.__annotations__.keys() - About.__annotations__.keys()
    if unknown:
        message = f"unexpected keyword argument {min(unknown)!r}"
        raise TypeError(message)
    fields: dict[str, Any] = {}
    if "tags" in about:
        fields["tags"] = _texts(about["tags"])
    if "metadata" in about:
        fields["metadata"] = _metadata(about["metadata"])
    if "parent" in about:
        fields["parent"] = None if about["parent"] is None else id_of(about["parent"])
    if "ttl" in about and "expires_at" in about:
        raise InvalidError("give ttl= or expires_at=, not both")
    if "ttl" in about:
        fields["ttl"] = wire_duration(about["ttl"], "ttl")
    if "expires_at" in about:
        fields["expires_at"] = wire_time(about["expires_at"], "expires_at")
    unique = _unique(about)
    if unique is not None or "unique" in about:
        fields["unique"] = unique
    return fields


def _unique(about: AboutOne) -> dict[str, Any] | None:
    key, by_input = about.get("idempotency_key"), about.get("unique", False)
    if key is None and not by_input:
        for name in ("unique_scope", "unique_window"):
            if name in about:
                raise InvalidError(f"{name}= says nothing without unique=True or idempotency_key=")
        return None
    if key is not None and by_input:
        raise InvalidError("give idempotency_key= or unique=True, not both: one says what the task is known by")
    fields: dict[str, Any] = {}
    if key is not None:
        fields["key"] = _text(key, "idempotency_key")
    if "unique_scope" in about:
        scope = about["unique_scope"]
        if scope not in ("type", "queue"):
            raise InvalidError(f"unique_scope={scope!r} must be 'type' or 'queue'")
        fields["scope"] = scope
    if "unique_window" in about:
        fields["window"] = wire_duration(about["unique_window"], "unique_window")
    return fields


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidError(f"{name}= must be text, not {type(value).__name__}")
    return value


def _texts(value: object) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidError(f"tags={value!r} must be a collection of texts")
    return [_text(tag, "each of tags") for tag in cast("Iterable[object]", value)]


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise InvalidError(f"metadata= must map texts to texts, not be a {type(value).__name__}")
    pairs = cast("Mapping[object, object]", value).items()
    return {_text(name, "each name of metadata"): _text(text, "each value of metadata") for name, text in pairs}
