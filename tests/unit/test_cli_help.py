"""The help of every command reads well, on a narrow terminal too."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from buquet.cli._app import cli
from buquet.cli._help import laid_out

TYPES_OF_PYTHON = re.compile(r"<(bool|int|float|list)\b|INTEGER|BOOLEAN")


def paths(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """All commands and groups, by how they are called."""
    inner: dict[str, Any] = getattr(command, "commands", {})
    return [path, *(found for name, each in inner.items() for found in paths(each, (*path, name)))]


EVERY = paths(typer.main.get_command(cli))


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")


def shown(*path: str) -> str:
    """The help of a command."""
    done = CliRunner().invoke(cli, [*path, "--help"])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_no_option_says_what_python_calls_its_value(path: tuple[str, ...]) -> None:
    arguments, _, options = shown(*path).partition("Options")
    del arguments  # Typer leaves no choice there
    assert not TYPES_OF_PYTHON.search(options)


def test_the_commands_come_in_groups() -> None:
    text = shown()
    titles = re.findall(r"^╭─ (.+?) ─+╮$", text, re.MULTILINE)
    assert titles[:2] == ["Options", "Tasks"]
    assert len(titles) > 4
    assert "Commands" not in titles, "each is in a group"


def test_examples_stand_in_a_block_of_their_own() -> None:
    lines = [line.strip() for line in shown("list").splitlines()]
    assert "Examples:" in lines
    assert lines[lines.index("Examples:") + 1].startswith("buquet list")


def test_paragraphs_are_wrapped_by_the_terminal_and_blocks_kept() -> None:
    text = "Do it.\n\nThis goes on\nhere.\n\n\b\nbuquet a\nX=1 buquet b --c\n\n\b\nleft    right\nbuquet  it is"
    examples = "\b\nExamples:\n  buquet a\n  X=1 buquet b --c"
    assert laid_out(text) == f"Do it.\n\nThis goes on here.\n\n{examples}\n\n\b\nleft    right\nbuquet  it is"
