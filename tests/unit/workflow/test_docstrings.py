"""The examples in the docstrings of workflows run, to their end."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import buquet.workflow
from buquet.workflow import WorkflowFunction
from tests.unit.workflow import shop
from tests.unit.workflow.driver import Driver, begun

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = re.compile(r"::\n\n((?:    .*\n?|\n)+)")
PACKAGE = Path(buquet.workflow.__file__).parent
OF_RUNS = {"_app_workflow.py", "_client.py", "_workflow_engine.py"}
"""What ``test_docstrings_of_runs.py`` runs."""
ARGUMENTS: dict[str, Any] = {"order_id": "17", "order_ids": ["17", "18"]}
COMES: dict[str, dict[str, Any]] = {
    "signal": {"payload": True},
    "callback": {"output": "signed"},
    "select": {"arm": "approved"},
    "child": {"output": "done"},
}


def examples() -> Iterator[Any]:
    """Find the code blocks of both packages."""
    bodies = [path for path in PACKAGE.glob("*.py") if path.name not in OF_RUNS]
    for path in sorted([*bodies, *(PACKAGE.parent / "testing").glob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                blocks = BLOCK.findall(ast.get_docstring(node) or "")
                name = getattr(node, "name", path.parent.name)
                yield from (pytest.param(textwrap.dedent(block), id=f"{name}-{n}") for n, block in enumerate(blocks))


def run(workflow: WorkflowFunction[..., Any]) -> Driver:
    """Run a workflow; what it waits for, comes."""
    driver = begun(workflow, **{name: ARGUMENTS[name] for name in workflow.signature.names})
    while driver.ended is None:
        operation = next(iter(driver.open.values()))
        driver.end_operation(operation, **COMES.get(operation.ask.ask, {}))
    return driver


@pytest.mark.parametrize("block", list(examples()))
def test_the_example_runs_to_its_end(block: str) -> None:
    names: dict[str, Any] = {
        **{name: getattr(buquet.workflow, name) for name in buquet.workflow.__all__},
        **{name: value for name, value in vars(shop).items() if not name.startswith("_")},
    }
    known = set(names)
    exec(compile(block, "docstring", "exec"), names)  # noqa: S102 - our own text
    mine = {name: value for name, value in names.items() if name not in known or value is not vars(shop).get(name)}
    workflows: list[WorkflowFunction[..., Any]] = [each for each in mine.values() if isinstance(each, WorkflowFunction)]
    for workflow in workflows:
        if "def charge" not in block:
            ended = run(workflow).ended
            assert ended is not None
            assert ended.status == "completed", ended


def test_there_are_examples() -> None:
    assert len(list(examples())) >= 18
