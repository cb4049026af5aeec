"""Where a queue lives, as its user says it."""

from __future__ import annotations

import os

import msgspec

from buquet.errors import InvalidError


class Config(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the queue lives. What is left out is looked up by the engine."""

    url: str | None = None
    region: str | None = None
    endpoint: str | None = None
    profile: str | None = None
    folder: str | None = None
    """Where relative paths begin, and from where ``.buquet.toml`` is looked for."""
    expect_queue: bool = False
    """Whether to look for something where there is no queue is a mistake, rather than a way to find nothing."""

    def __repr__(self) -> str:
        """Show where the queue is, without what may hold a secret."""
        return f"Config({self.address!r})"

    @property
    def address(self) -> str | None:
        """The URL without user, password and query, fit to be shown."""
        if self.url is None:
            return None
        scheme, mark, rest = self.url.partition("://")
        if not mark:
            return self.url
        return scheme + mark + rest.partition("?")[0].rpartition("@")[2]

    @property
    def place(self) -> Config:
        """The same, without what does not tell one queue from another."""
        scheme, _, path = (self.url or "").partition(":")
        is_relative = not path.startswith(("/", "~/")) if scheme.lower() == "sqlite" else not scheme
        return self if is_relative else msgspec.structs.replace(self, folder=None)

    def here(self) -> Config:
        """The same, bound to the working directory as it is now, unless it is bound already."""
        return self if self.folder is not None else msgspec.structs.replace(self, folder=_working_directory())

    def __post_init__(self) -> None:
        """Refuse what is no text, naming it."""
        for name in self.__struct_fields__:
            value: object = getattr(self, name)
            if value is None or name == "expect_queue":
                continue
            if not isinstance(value, str):
                raise InvalidError(f"{name}= must be text, not {type(value).__name__}")
            try:
                value.encode()
            except UnicodeEncodeError:
                shown = self.address if name == "url" else value
                message = f"{name}={shown!r} is not UTF-8, as names of files need not be; buquet takes no other"
                raise InvalidError(message) from None


def _working_directory() -> str | None:
    """The working directory; None where it is gone, or has no UTF-8 to be told in: then it is the engine's to find."""
    try:
        folder = os.getcwd()  # noqa: PTH109 - a path object would be made into text again
        folder.encode()
    except (OSError, UnicodeEncodeError):
        return None
    return folder
