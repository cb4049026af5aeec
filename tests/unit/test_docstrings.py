"""The examples in docstrings run, on a fake engine with a worker behind it."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import buquet
from buquet import Buquet, Queue, Worker
from buquet.errors import HandlerError
from buquet.workflow import WorkflowContext
from tests.unit.workflow.driven import act, chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buquet._client import Client

PACKAGE = Path(buquet.__file__).parent
BLOCK = re.compile(r"::\n\n((?:    .*\n?|\n)+)")


def examples() -> Iterator[Any]:
    """Find the code blocks in the docstrings of classes and functions, and in the package's own."""
    for path in sorted(PACKAGE.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module) and path.name != "__init__.py":
                continue
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                blocks = BLOCK.findall(ast.get_docstring(node) or "")
                name = getattr(node, "name", "buquet")
                yield from (pytest.param(textwrap.dedent(block), id=f"{name}-{n}") for n, block in enumerate(blocks))


class BriefWorker(Worker):
    """A worker that stops as soon as it has started."""

    async def run(self, *, handle_signals: bool = True) -> None:
        del handle_signals
        async with self:
            pass


class Connected:
    """What ``connect`` gives, without connecting anywhere."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def __call__(self, _url: str | None = None) -> Connected:
        return self

    def __await__(self) -> Iterator[Queue]:
        return iter_result(self._queue)

    async def __aenter__(self) -> Queue:
        return self._queue

    async def __aexit__(self, *_: object) -> None:
        return None


def iter_result(value: Queue) -> Any:
    """Await nothing and give ``value``."""

    async def give() -> Queue:
        return value

    return give().__await__()


def send_nothing() -> None:
    """Handle a type that nobody submits."""


class NoLoop:
    """Stands in for asyncio where an example would run for ever."""

    @staticmethod
    def run(coroutine: Any) -> None:
        coroutine.close()


@pytest.fixture
def namespace(client: Client, queue: Queue, app: Buquet, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the examples may use; a worker in the background runs what they submit."""

    def on_the_fake() -> Buquet:
        fresh = Buquet()
        fresh._client = client  # pyright: ignore[reportPrivateUsage]
        return fresh

    @app.task
    def thumbnail(path: str, size: int = 256) -> str:
        return f"{path}@{size}"

    monkeypatch.setattr(buquet, "Buquet", on_the_fake)
    worker, idle = app.worker(), Worker(queue)
    idle.task("other")(send_nothing)

    @worker.task("send_email")
    def send_email(_email: object) -> None: ...

    public = {name: getattr(buquet, name) for name in buquet.__all__}
    special = {"Buquet": on_the_fake, "Worker": BriefWorker, "connect": Connected(queue), "asyncio": NoLoop}
    public |= {"WorkflowContext": WorkflowContext, "order": chain, "charge": act}
    things = {"app": app, "queue": queue, "thumbnail": thumbnail, "order_id": 7, "worker": idle, "read": list[str]}
    with worker:
        yield {**public, **special, **things}


@pytest.mark.parametrize("block", list(examples()))
def test_the_example_runs(block: str, namespace: dict[str, Any]) -> None:
    code = compile(block, "docstring", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    try:
        result: Any = eval(code, namespace)  # noqa: S307 - our own text
        if inspect.iscoroutine(result):
            asyncio.run(result)
    except HandlerError:
        assert block.startswith("raise ")


def test_there_are_examples() -> None:
    assert len(list(examples())) >= 12
