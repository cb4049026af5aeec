"""README and docs do what they say: every Python and console block is run, every JSON and TOML block is read."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.support.markdown import Block, blocks, commands
from tests.support.processes import ROOT, background, clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN_SECONDS = 120


def runnable(page: Path) -> list[Block]:
    """Return the blocks of the page that are to be run."""
    return [block for block in blocks(page) if block.language in {"python", "console"} and not block.skipped]


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=lambda page: page.name)
def test_the_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    environment = clean_environment()
    with contextlib.ExitStack() as stack:
        for block in runnable(page):
            if block.title:
                (tmp_path / block.title).write_text(block.text, "utf-8")
            elif block.language == "python":
                run([sys.executable, "-c", block.text], block, tmp_path, environment)
            else:
                for command in commands(block):
                    if command.background:
                        words = command.line.removesuffix("&").split()
                        stack.enter_context(background(words, cwd=tmp_path, env=environment))
                        continue
                    printed = run(["sh", "-c", command.line], block, tmp_path, environment)
                    assert not command.expected or printed == command.expected, f"{block.where}: {command.line}"


def run(command: list[str], block: Block, folder: Path, environment: Mapping[str, str]) -> str:
    """Run a command and return what it printed; it has to succeed."""
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode == 0, f"{block.where} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_data_on_the_page_can_be_read(page: Path) -> None:
    for block in blocks(page):
        try:
            if block.language == "json" and not block.skipped:
                json.loads(block.text)
            elif block.language == "toml":
                tomllib.loads(block.text)
        except ValueError as error:
            pytest.fail(f"{block.where}: {error}")


def test_ci_runs_the_commands_of_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    for name in ("demo", "tests"):
        assert f"readme_command {name}" in script
        assert readme.count(f"<!-- command: {name} -->\n```sh\n") == 1


@pytest.mark.parametrize("page", ["README.md", "docs/getting_started.md"])
def test_who_types_along_has_the_commands_on_the_path_before_the_first_is_used(page: str) -> None:
    found = blocks(ROOT / page)
    activated = min(block.line for block in found if ". .venv/bin/activate" in block.text)
    used = min(block.line for block in found if block.language == "console")
    assert activated < used


def test_the_readme_installs_buquet_into_a_project_of_ones_own() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    install = readme[readme.index("## Install") : readme.index("## A first task")]
    assert "pip install ../buquet" in install
    for part in ("## When not to use it", "## Status"):
        assert part in readme


def test_ci_builds_what_nox_builds() -> None:
    said = [
        re.findall(r'BUQUET_CARGO_ARGS"?[:=] ?"([^"]+)"', (ROOT / name).read_text("utf-8"))
        for name in (".ci/run", "noxfile.py")
    ]
    assert len(said[0]) == 1
    assert said[0] == said[1], "else the library is compiled twice"
