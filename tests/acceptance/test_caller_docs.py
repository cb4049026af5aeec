"""The pages for C and Go programmers do what they say: their programs are compiled and run, their commands too."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.callers import (
    C_SOURCES,
    GO_MODULE,
    NO_GO,
    PKG_CONFIG,
    checked,
    compile_c,
    go,
    has_go,
    installed,
)
from tests.support.markdown import Block, blocks
from tests.support.processes import ROOT, clean_environment

if TYPE_CHECKING:
    from pathlib import Path

needs_go = pytest.mark.skipif(not has_go(), reason=NO_GO)
RUN_SECONDS = 120
WRAPPER = [path for path in C_SOURCES.glob("*.c") if path.name not in {"main.c", "handlers.c"}]


def programs(page: str, language: str) -> list[Block]:
    """Return the page's programs in a language: the blocks that name their file."""
    found = [block for block in blocks(ROOT / "docs" / page) if block.language == language and block.title]
    assert found, f"docs/{page} shows no program in {language}"
    return found


def printed_after(block: Block) -> str:
    """Return what the page says that a program prints: the block of plain text behind it."""
    following = [other for other in blocks(block.page) if other.line > block.line]
    assert following, f"{block.where} does not show what it prints"
    assert following[0].language == "text", f"{block.where} does not show what it prints"
    return following[0].text


def output(program: Path, folder: Path) -> str:
    """Run a program in an empty folder, where its queue will lie; return what it printed."""
    done = subprocess.run(
        [program], cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("block", programs("c.md", "c"), ids=lambda block: block.title)
def test_the_c_program_prints_what_the_page_says(block: Block, shared_folder: Path, tmp_path: Path) -> None:
    source = tmp_path / block.title
    source.write_text(block.text, "utf-8")
    compile_c(installed(shared_folder), [source, *WRAPPER], tmp_path / "program")
    assert output(tmp_path / "program", tmp_path) == printed_after(block)


def test_the_c_programs_print_it_also_one_after_the_other_in_one_folder(shared_folder: Path, tmp_path: Path) -> None:
    for block in programs("c.md", "c"):
        (tmp_path / block.title).write_text(block.text, "utf-8")
        compile_c(installed(shared_folder), [tmp_path / block.title, *WRAPPER], tmp_path / "program")
        assert output(tmp_path / "program", tmp_path) == printed_after(block), block.where


WRITER = r"""
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "json.h"

int main(void) {
  const char *wild = "\"}, \"admin\": true, \\ \n\t\x01 %s \xc3\xa4";
  char *texts[] = {
      json_format("{\"name\": %s, \"n\": %d, \"x\": %g, \"more\": %j}", wild, -3, 0.5, "[1, null]"),
      json_format("[%s, %g, %g, \"100 %%\"]", (const char *)NULL, HUGE_VAL, 2.0),
      json_format("{}"),
  };
  for (int n = 0; n < 3; n++) {
    puts(texts[n]);
    free(texts[n]);
  }
  return json_format("%x", 1) == NULL && json_format("%") == NULL ? 0 : 1;
}
"""


def test_what_the_c_example_writes_is_json_whatever_the_strings_hold(shared_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "writer.c").write_text(WRITER, "utf-8")
    compile_c(installed(shared_folder), [tmp_path / "writer.c", *WRAPPER], tmp_path / "program")
    first, second, third = map(json.loads, output(tmp_path / "program", tmp_path).splitlines())
    assert first == {"name": '"}, "admin": true, \\ \n\t\x01 %s ä', "n": -3, "x": 0.5, "more": [1, None]}
    assert second == [None, None, 2, "100 %"]
    assert third == {}


@needs_go
@pytest.mark.parametrize(
    "block", [*programs("go.md", "go"), *programs("abi.md", "go")], ids=lambda block: f"{block.page.stem}-{block.title}"
)
def test_the_go_program_prints_what_the_page_says(block: Block, shared_folder: Path, tmp_path: Path) -> None:
    module = tmp_path / "module"
    module.mkdir()
    (module / block.title).write_text(block.text, "utf-8")
    required = f"require example.com/bqgo v0.0.0\nreplace example.com/bqgo => {GO_MODULE}\n"
    (module / "go.mod").write_text(f"module example.com/page\ngo 1.19\n{required}", "utf-8")
    go(shared_folder, "build", "-o", str(tmp_path / "program"), ".", module=module)
    assert output(tmp_path / "program", tmp_path) == printed_after(block)
    assert checked(["gofmt", "-l", module]) == ""


def test_the_compile_command_of_the_page_compiles_the_example(shared_folder: Path, tmp_path: Path) -> None:
    (line,) = [block.text for block in blocks(ROOT / "docs" / "c.md") if block.text.startswith("cc ")]
    prefix = installed(shared_folder)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pkg-config").symlink_to(PKG_CONFIG)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = clean_environment(PKG_CONFIG_PATH=str(prefix / "lib" / "pkgconfig"))
    environment["PATH"] = f"{tmp_path / 'bin'}{os.pathsep}{environment['PATH']}"
    checked(["sh", "-euc", line], cwd=tmp_path, env=environment)
    done = subprocess.run([tmp_path / "bqc"], env=clean_environment(), capture_output=True, text=True, check=False)
    assert "usage: bqc submit" in done.stderr
