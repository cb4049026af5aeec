"""The examples in the docstrings of starts, handles and clients run, with a worker behind them."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

import buquet.workflow
from buquet.workflow import WorkflowContext  # noqa: TC001 - a body's annotations are read
from tests.unit.workflow.driven import act
from tests.unit.workflow.test_docstrings import OF_RUNS, PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buquet import Buquet, Queue

BLOCK = re.compile(r"::\n\n((?:    .*\n?|\n)+)")


def examples() -> Iterator[Any]:
    """Find the code blocks."""
    for name in sorted(OF_RUNS):
        for node in ast.walk(ast.parse((PACKAGE / name).read_text("utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                blocks = BLOCK.findall(ast.get_docstring(node) or "")
                yield from (
                    pytest.param(textwrap.dedent(block), id=f"{node.name}-{n}") for n, block in enumerate(blocks)
                )


async def order(ctx: WorkflowContext, order_id: str) -> str:
    await ctx.wait_signal("approved", timeout="1s")
    return await ctx.step(act, order_id)


@pytest.mark.parametrize("block", list(examples()))
def test_the_example_runs(block: str, app: Buquet, queue: Queue) -> None:
    names: dict[str, Any] = {name: getattr(buquet.workflow, name) for name in buquet.workflow.__all__}
    names |= {"app": app, "queue": queue, "order": app.workflow(order)}
    code = compile(block, "docstring", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with app.worker():
        result: Any = eval(code, names)  # noqa: S307 - our own text
        if inspect.iscoroutine(result):
            asyncio.run(result)


def test_there_are_examples() -> None:
    assert len(list(examples())) >= 5
