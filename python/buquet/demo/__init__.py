"""The demo's app: one task per source file. ``buquet demo`` submits them and runs the workers."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from pathlib import Path

from buquet import Buquet

app = Buquet()


@dataclass(frozen=True)
class FileCount:
    """What was counted in one file. ``problem`` says why it could not be parsed."""

    lines: int
    functions: int = 0
    classes: int = 0
    problem: str | None = None


@app.on_startup
def ignore_warnings() -> None:
    """Keep the compiler's opinions on other people's code off the screen."""
    warnings.simplefilter("ignore")


@app.task(name="demo.count_file", timeout="1m")
def count_file(path: str) -> FileCount:
    """Count a Python file's lines, functions and classes."""
    source = Path(path).read_bytes()
    lines = len(source.splitlines())
    try:
        nodes = list(ast.walk(ast.parse(source, filename=path)))
    except (SyntaxError, ValueError, RecursionError) as error:  # some test files are broken on purpose
        return FileCount(lines, problem=f"{type(error).__name__}: {error}")
    return FileCount(
        lines,
        functions=sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes),
        classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
    )
