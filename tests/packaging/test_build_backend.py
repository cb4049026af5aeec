"""The hooks that pip calls, each in a process of its own as pip does it, with a cargo that compiles nothing."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.support import fake_cargo

ROOT = Path(__file__).resolve().parents[2]
BUILD_FILES = ("build_backend.py", "cargo_build.py", "cffi_build.py")
COPIED = (*BUILD_FILES, "pyproject.toml", "Cargo.toml", "README.md", "LICENSE-APACHE", "LICENSE-MIT", "include")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
BEGIN = "import os, sys; sys.path.insert(0, os.getcwd())"
METADATA_HOOKS = ("prepare_metadata_for_build_wheel", "prepare_metadata_for_build_editable")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source tree with all that the build reads, but no library and nothing to compile."""
    folder = tmp_path / "tree"
    folder.mkdir()
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    package = folder / "python" / "buquet"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    return folder


def run(tree: Path, code: str, *, cargo: Path | str) -> subprocess.CompletedProcess[str]:
    """Run code as pip runs hooks; with PIP_BUILD_TRACKER it says who it is."""
    environment = fake_cargo.environment(cargo, PIP_BUILD_TRACKER=str(tree))
    command = [sys.executable, "-c", f"{BEGIN}\n{code}"]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def call(tree: Path, hook: str, *arguments: object, cargo: Path | str) -> subprocess.CompletedProcess[str]:
    """Call one hook."""
    written = ", ".join(repr(str(value) if isinstance(value, Path) else value) for value in arguments)
    return run(tree, f"import build_backend; print('answer', build_backend.{hook}({written}))", cargo=cargo)


def answer(done: subprocess.CompletedProcess[str]) -> str:
    """Return what the hook returned."""
    assert done.returncode == 0, done.stderr
    return done.stdout.split("answer ", 1)[1].strip()


@pytest.mark.parametrize("hook", METADATA_HOOKS)
def test_pip_gets_the_metadata_without_compiling(hook: str, tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "metadata"
    folder.mkdir()
    cargo = fake_cargo.install(tmp_path)
    name = answer(call(tree, hook, folder, None, cargo=cargo))
    metadata = Parser().parsestr((folder / name / "METADATA").read_text("utf-8"))
    assert (metadata["Name"], metadata["Version"]) == ("buquet", PROJECT["project"]["version"])
    assert len(metadata.get_all("Requires-Dist") or []) >= len(PROJECT["project"]["dependencies"])
    assert not (tmp_path / "asked").exists(), "cargo was asked to build"


@pytest.mark.parametrize("setting", ["dev-server,sso", ["dev-server", "sso"]])  # said once, and twice
def test_the_wheel_has_the_metadata_promised_and_the_features_asked_for(
    setting: object, tree: Path, tmp_path: Path
) -> None:
    cargo = fake_cargo.install(tmp_path)
    promised = answer(call(tree, "prepare_metadata_for_build_wheel", tmp_path, None, cargo=cargo))
    wheel = answer(call(tree, "build_wheel", tmp_path, {"features": setting}, None, cargo=cargo))
    with zipfile.ZipFile(tmp_path / wheel) as archive:
        assert archive.read(f"{promised}/METADATA") == (tmp_path / promised / "METADATA").read_bytes()
        assert {"buquet/libbuquet.so", "buquet/_abi.py"} <= set(archive.namelist())
    assert "--features buquet-ffi/dev-server --features buquet-ffi/sso" in (tmp_path / "asked").read_text("utf-8")


def test_the_sdist_can_be_built_from(tree: Path, tmp_path: Path) -> None:
    sdist = answer(call(tree, "build_sdist", tmp_path, None, cargo="nowhere"))  # which needs no cargo
    with tarfile.open(tmp_path / sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert names >= {*BUILD_FILES, "pyproject.toml", "Cargo.toml"}


def test_a_missing_cargo_is_one_sentence_at_every_step(tree: Path) -> None:
    steps = ("get_requires_for_build_{}()", "prepare_metadata_for_build_{}('.')", "build_{}('.')")
    hooks = [step.format(kind) for kind in ("wheel", "editable") for step in steps]
    lines = [f"try: build_backend.{hook}\nexcept SystemExit as end: print(end)" for hook in hooks]
    done = run(tree, "\n".join(["import build_backend", *lines]), cargo="no-such-cargo")
    said = done.stdout.splitlines()
    assert len(said) == len(hooks), done.stderr
    assert len(set(said)) == 1
    assert re.match(
        r"buquet: building from source needs cargo \S+ or newer, and 'no-such-cargo' was not found: ", said[0]
    )


def test_an_unknown_feature_is_one_sentence_at_the_first_step(tree: Path, tmp_path: Path) -> None:
    cargo = fake_cargo.install(tmp_path)
    done = call(tree, "get_requires_for_build_wheel", {"features": "ssl"}, cargo=cargo)
    assert done.stderr == "buquet: there is no feature 'ssl'; BUQUET_FEATURES takes dev-server and sso.\n"


@pytest.mark.parametrize("module", ["build_backend", "cffi_build"])
def test_an_old_python_is_one_sentence_before_anything_is_imported(module: str, tree: Path) -> None:
    # Neither a module of newer Pythons nor what has to be installed.
    absent = "sys.modules.update(dict.fromkeys(['tomllib', 'hatchling', 'cffi', 'packaging']))"
    old = "sys.version_info = (3, 10, 13); sys.version = '3.10.13 (main)'"
    done = run(tree, f"{absent}; {old}; import {module}", cargo="no-such-cargo")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("buquet needs Python 3.11 or newer, and ")
    assert "is Python 3.10.13: " in line


def test_the_python_asked_for_is_the_one_that_the_metadata_names() -> None:
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    for requirement in PROJECT["build-system"]["requires"]:
        assert requirement.endswith("; python_version >= '3.11'"), "pip would look for it before we say anything"


@pytest.mark.parametrize("name", BUILD_FILES)
def test_an_old_python_can_read_what_says_so(name: str) -> None:
    ast.parse((ROOT / name).read_text("utf-8"), feature_version=(3, 7))
