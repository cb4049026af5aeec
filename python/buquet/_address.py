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

    def here(self) -> Config:
        """The same, with the path of a database made absolute by the working directory as it is now."""
        scheme, mark, path = (self.url or "").strip().partition(":")
        if scheme.lower() != "sqlite" or not path or path.startswith(("/", "~/", ":memory:")):
            return self
        try:
            url = f"{scheme}{mark}{os.getcwd()}/{path}"  # noqa: PTH109 - whatever is wrong with it is the engine's to say
            url.encode()
        except (
            OSError,
            UnicodeEncodeError,
        ):  # the directory is gone, or has no UTF-8: it is the engine's to find
            return self
        return msgspec.structs.replace(self, url=url)

    def __post_init__(self) -> None:
        """Refuse what is no text, naming it."""
        for name in self.__struct_fields__:
            value: object = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, str):
                raise InvalidError(f"{name}= must be text, not {type(value).__name__}")
            try:
                value.encode()
            except UnicodeEncodeError:
                shown = self.address if name == "url" else value
                message = f"{name}={shown!r} is not UTF-8, as names of files need not be; buquet takes no other"
                raise InvalidError(message) from None
