"""Arguments that are checked before the engine reads them, so that a message can name them as Python does."""

from __future__ import annotations

import re
import reprlib
from typing import TYPE_CHECKING

from buquet._ids import id_of
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from buquet._ids import HasId

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_NAME_CHARS = 128
_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9_.:-]*")


def check_limit(value: object, most: int = 1000, name: str = "limit") -> None:
    """Refuse what does not count the entries of a page."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidError(f"{name}={value!r} must be a whole number from 1 to {most}")


def check_given(value: object, name: str) -> None:
    """Refuse what is no text; None does not pass either."""
    if not isinstance(value, str):
        raise InvalidError(f"{name}={reprlib.repr(value)} must be text")


def check_name(value: object, what: str) -> None:
    """Refuse what cannot name a task type or a schedule.

    The engine's rule is the authority; this one is here to speak up at decoration.
    """
    if not isinstance(value, str) or len(value) > _NAME_CHARS or not _NAME.fullmatch(value):
        raise InvalidError(
            f"{value!r} cannot be {what}: use 1 to {_NAME_CHARS} of the characters A-Z a-z 0-9 _ . : - "
            "with a letter, digit or underscore first and no two dots in a row"
        )


def check_utf8(text: str) -> None:
    """Refuse text that has no UTF-8, as names of files may have none.

    :raises InvalidError: naming the text and the place in it.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise no_text(error) from None


def no_text(error: UnicodeEncodeError) -> InvalidError:
    """Say which text has no UTF-8, and where."""
    return InvalidError(
        f"{error.object[:100]!r} cannot be stored as text: its character {error.start + 1} is half a character, as "
        "in names of files that are not UTF-8; replace it, such as with name.encode(errors='replace').decode()"
    )


def parent_id(parent: str | HasId | None) -> str | None:
    """The id of a parent that somebody names.

    :raises InvalidError: it is none.
    """
    if parent is None:
        return None
    if isinstance(parent, str) and not _ID.fullmatch(parent):
        raise InvalidError(
            f"parent={parent[:64]!r} is not a task id; give the parent's handle, or its id as submit returned it, "
            "such as '5f0c7a52-41c3-8e5a-9d1b-3a6f0c2e0000'"
        )
    return id_of(parent)
