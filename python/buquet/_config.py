"""The effective configuration, as the engine resolved it."""

from __future__ import annotations

from typing import Any

import msgspec

from buquet._client import Call
from buquet._durations import seconds
from buquet.errors import InternalError


class ConfigOption(msgspec.Struct, frozen=True, kw_only=True):
    """One option: its value, who says so, and what it takes.

    ``value`` is a whole number, text, or a duration as text such as ``"1m30s"``; None where
    it has no default and nobody set it. ``variable`` is the environment variable that sets it.
    """

    name: str
    value: int | str | None
    source: str
    variable: str
    allowed: str = ""
    about: str = ""


class CredentialSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the credentials for S3 come from, never what they are."""

    kind: str
    source: str


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of a queue: each value and where it came from. It holds no secret.

    ``store`` has the parts of the store's address (``url``, ``region``, ``endpoint``, ``profile``),
    ``options`` all else, by names such as ``worker.concurrency``.
    """

    file: str | None
    store: list[ConfigOption]
    options: list[ConfigOption]
    credentials: CredentialSource | None = None

    def __getitem__(self, name: str) -> ConfigOption:
        """The option of that name.

        :raises KeyError: there is no such option.

        Example::

            app.config()["worker.concurrency"].value
        """
        for option in (*self.store, *self.options):
            if option.name == name:
                return option
        raise KeyError(name)

    def count(self, name: str) -> int:
        """An option that is a number."""
        value = self[name].value
        if not isinstance(value, int):
            raise InternalError(f"the option {name} is {value!r} and no number")
        return value

    def optional_count(self, name: str) -> int | None:
        """An option that is a number, or not set."""
        return None if self[name].value is None else self.count(name)

    def seconds(self, name: str) -> float:
        """An option that is a duration, in seconds."""
        return seconds(self[name].value, name)

    def word(self, name: str) -> str:
        """An option that is text."""
        return str(self[name].value)


def config() -> Call[Configuration, Configuration]:
    """Show the configuration. Reaches no store."""
    request: dict[str, Any] = {}
    return Call("config", request, Configuration, lambda answer: answer)
