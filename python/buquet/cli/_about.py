"""Options of ``buquet submit`` that tell about a task. What Python refuses too is refused in the options' own words."""

from typing import Annotated, cast

import typer

from buquet._about import KEY_CHARS, METADATA_BYTES, TAG_CHARS, TAGS, AboutOne, On, Scope, is_name, size_of
from buquet.cli._usage import moment
from buquet.errors import InvalidError


def _is_tags(param: typer.CallbackParam, values: list[str] | None) -> list[str] | None:
    for value in values or ():
        _check_name(param.opts[0], value, TAG_CHARS)
    if values and len(values) > TAGS:
        raise InvalidError(f"{param.opts[0]} is given {len(values)} times; give up to {TAGS}")
    return values


def _is_key(param: typer.CallbackParam, value: str | None) -> str | None:
    if value is not None:
        _check_name(param.opts[0], value, KEY_CHARS)
    return value


def _check_name(option: str, text: str, most: int) -> None:
    if not is_name(text, most):
        said = f"must have 1 to {most} characters, none of them a control character"
        raise InvalidError(f"{option}={text[:TAG_CHARS]!r} {said}")


Tags = Annotated[
    list[str] | None, typer.Option("--tag", help="A word to find it by; may be repeated.", callback=_is_tags)
]
Facts = Annotated[
    list[str] | None, typer.Option("--meta", metavar="NAME=TEXT", help="A fact; may be repeated, one of each name.")
]
Key = Annotated[
    str | None, typer.Option("--key", help="Idempotency key: a second submit finds the first.", callback=_is_key)
]


After = Annotated[
    list[str] | None, typer.Option("--after", metavar="ID", help="A task that it waits for; may be repeated.")
]
Outcome = Annotated[
    On | None,
    typer.Option("--on", help="Whether it runs then: on their success (the default), once finished, or on a failure."),
]


def given_about(
    *,
    tag: list[str] | None,
    meta: list[str] | None,
    parent: str | None,
    ttl: str | None,
    expires_at: str | None = None,
    key: str | None = None,
    unique: bool = False,
    scope: Scope | None = None,
    window: str | None = None,
    after: list[str] | None = None,
    on: On | None = None,
) -> AboutOne:
    """Collect what was given.

    :raises InvalidError: an option is wrong, or contradicts another.
    """
    if ttl is not None and expires_at is not None:
        raise InvalidError("give --ttl or --expires-at, not both")
    if on is not None and not after:
        raise InvalidError(f"--on={on!r} says nothing without --after")
    _check_unique(key, {"--scope": scope, "--window": window}, unique=unique)
    given = {
        "tags": tag or None,
        "metadata": _facts(meta) if meta else None,
        "parent": parent,
        "ttl": ttl,
        "expires_at": None if expires_at is None else moment(expires_at, "--expires-at"),
        "idempotency_key": key,
        "unique": unique or None,
        "unique_scope": scope,
        "unique_window": window,
        "after": after or None,
        "on": on,
    }
    return cast("AboutOne", {name: value for name, value in given.items() if value is not None})


def _check_unique(key: str | None, bounds: dict[str, str | None], *, unique: bool) -> None:
    if key is not None and unique:
        raise InvalidError("give --key or --unique, not both: one says what the task is known by")
    for option, value in bounds.items():
        if value is not None and key is None and not unique:
            raise InvalidError(f"{option}={value!r} says nothing without --key or --unique")


def _facts(texts: list[str]) -> dict[str, str]:
    facts: dict[str, str] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise InvalidError(f"--meta {text!r} is not NAME=TEXT")
        if name in facts:
            raise InvalidError(
                f"--meta {name}={facts[name]!r} and {name}={value!r} are given, and only one can be stored"
            )
        facts[name] = value
    size = size_of(facts)
    if size > METADATA_BYTES:
        raise InvalidError(
            f"--meta has {size} bytes of names and texts; give up to {METADATA_BYTES}, "
            "and put what is larger into the input"
        )
    return facts
