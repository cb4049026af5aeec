"""Options of ``buquet submit`` that tell about a task."""

from buquet._about import AboutOne, Scope
from buquet.cli._usage import moment
from buquet.errors import InvalidError


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
) -> AboutOne:
    """Collect what was given.

    :raises InvalidError: a ``--meta`` has no ``=``, or ``--expires-at`` is no time.
    """
    about: AboutOne = {}
    if tag:
        about["tags"] = tag
    if meta:
        about["metadata"] = _facts(meta)
    if parent is not None:
        about["parent"] = parent
    if ttl is not None:
        about["ttl"] = ttl
    if expires_at is not None:
        about["expires_at"] = moment(expires_at, "--expires-at")
    if key is not None:
        about["idempotency_key"] = key
    if unique:
        about["unique"] = True
    if scope is not None:
        about["unique_scope"] = scope
    if window is not None:
        about["unique_window"] = window
    return about


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
    return facts
