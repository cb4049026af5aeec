"""Functions that became tasks: called plainly, found twice, used as other queues' are."""

from __future__ import annotations

import subprocess
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

from buquet import ArgumentError, Buquet, InvalidError, TaskContext
from tests.support.processes import clean_environment

if TYPE_CHECKING:
    from decimal import Decimal
    from pathlib import Path

app = Buquet("memory:")


@app.task
def double(x: Decimal) -> Decimal:
    return 2 * x


@app.task
def attempt(ctx: TaskContext, x: Decimal) -> tuple[int, Decimal]:
    return ctx.attempt, x


@app.task
def attempt_if_any(x: Decimal, ctx: TaskContext | None = None) -> int:
    return int(x) * (0 if ctx is None else ctx.attempt)


@app.task
async def double_async(x: Decimal) -> Decimal:
    return 2 * x


async def test_a_plain_call_needs_no_hints() -> None:
    n: Any = 21
    assert double(n) == 42
    assert attempt(n) == (1, 21)
    assert attempt_if_any(n) == 21
    assert attempt_if_any(n, ctx=None) == 0
    assert await double_async(n) == 42
    with pytest.raises(InvalidError, match="import the types at run time"):
        double.submit(n)


@pytest.mark.parametrize(
    ("annotation", "other"),
    [
        ("TaskContext", "Decimal"),
        ("buquet.TaskContext | None", "Decimal"),
        ("Known", "Decimal"),
        ("Known", "int.nothing"),
        ("Known", "not an expression"),
    ],
)
def test_a_plain_call_knows_the_context_whatever_else_cannot_be_resolved(annotation: str, other: str) -> None:
    space: dict[str, Any] = {"Known": TaskContext}

    def late(ctx: Any, x: Any) -> Any:
        return ctx.attempt + x

    function = types.FunctionType(late.__code__, space, "late")
    function.__annotations__ = {"ctx": annotation, "x": other}
    plain: Any = Buquet("memory:").task(function)
    assert plain(1) == 2


@pytest.mark.parametrize("first", ["self", "cls"])
def test_a_method_is_refused_when_it_is_decorated(first: str) -> None:
    text = f"class Shop:\n    @app.task\n    def total({first}, x: int) -> int: ..."
    with pytest.raises(InvalidError, match=r"Shop\.total is a method.*@staticmethod"):
        exec(text, {"app": app, "__name__": __name__})  # noqa: S102 - both names in one test


@pytest.mark.parametrize("kind", [staticmethod, classmethod])
def test_a_task_goes_inside_of_a_static_method(kind: Any) -> None:
    with pytest.raises(InvalidError, match=r"put @staticmethod above @app\.task"):
        app.task(kind(len))


class Store:
    @staticmethod
    @app.task(name="store_total")
    def total(x: int) -> int:
        return 2 * x


def test_a_static_method_is_a_task() -> None:
    assert Store.total(2) == Store().total(2) == 4
    assert Store.total.submit(2).refresh().input == {"x": 2}


def test_an_argument_may_be_called_self() -> None:
    @app.task
    def links(**hrefs: str) -> dict[str, str]:
        return hrefs

    @app.task
    def own(self: str, function: str, args: str = "", kwargs: str = "") -> str:
        return self + function + args + kwargs

    given = {"self": "/orders/1", "name": "n", "context": "c"}
    assert links(**given) == given
    names = {"self": "a", "function": "b", "args": "c", "kwargs": "d"}
    assert own(**names) == "abcd"
    with app.worker():
        assert links.submit(**given).result(timeout=20) == given
        assert own.submit(**names).result(timeout=20) == "abcd"
        assert links.bind(**given).name == "links"


async def test_an_argument_may_be_called_self_in_async_code() -> None:
    other = Buquet("memory:")

    @other.task
    async def links(**hrefs: str) -> dict[str, str]:
        return hrefs

    assert await links(self="a") == {"self": "a"}
    async with other.worker():
        assert await (await links.submit_async(self="a")) == {"self": "a"}
    await other.close_async()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("delay", r"submit it with \.submit"),
        ("send", r"submit it with \.submit"),
        ("apply_async", r"\.options\(\.\.\.\)\.submit"),
        ("sumbit", "no attribute 'sumbit'$"),
    ],
)
def test_names_of_other_queues_tell_what_it_is_called_here(name: str, hint: str) -> None:
    assert not hasattr(Store.total, name)
    with pytest.raises(AttributeError, match=hint):
        getattr(Store.total, name)


@pytest.mark.parametrize(("name", "hint"), [("get", "result"), ("ready", "status"), ("revoke", "cancel")])
def test_names_of_other_queues_for_handles_too(name: str, hint: str) -> None:
    with pytest.raises(AttributeError, match=hint):
        getattr(Store.total.handle("x"), name)


async def test_an_option_that_is_misspelt_is_told_the_nearest() -> None:
    wrong: Any = Store.total
    plain: Any = app
    with pytest.raises(TypeError, match=r"'retrys'; did you mean 'retries'\?"):
        wrong.options(retrys=3)
    with pytest.raises(TypeError, match=r"'no_retry'; did you mean 'no_retry_on'\?"):
        plain.task(no_retry=OSError)
    with pytest.raises(TypeError, match=r"'retries'; did you mean 'max_retries'\?"):
        await plain.queue.submit("t", retries=3)
    with pytest.raises(TypeError, match=r"'xyz'$"):
        wrong.options(xyz=3)


def test_an_option_among_the_arguments_is_told_where_it_belongs() -> None:
    wrong: Any = Store.total
    with pytest.raises(ArgumentError, match=r"'retries'; options are given as \.options\(retries=\.\.\.\)\.submit"):
        wrong.submit(1, retries=3)


TASKS = """
from shop.app import app

@app.on_startup
def begin():
    print("started")

@app.every("1h")
def poll() -> None: ...

@app.task
def ping() -> str:
    return "pong"

if __name__ == "__main__":
    with app.worker():
        print(ping.submit().result(timeout=20), sorted(app.tasks))
"""


@pytest.mark.parametrize("command", [["-m", "shop.tasks"], ["shop/tasks.py"]])
def test_a_module_may_be_imported_under_two_names(command: list[str], tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "app.py").write_text("from buquet import Buquet\napp = Buquet('memory:')\nfrom shop import tasks")
    (package / "tasks.py").write_text(TASKS)
    environment = clean_environment()
    environment["PYTHONPATH"] = f"{tmp_path}:{environment.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("started\npong ['ping', 'poll']\n", 0), done.stderr


def test_two_functions_of_one_name_are_still_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text("def ping() -> None: ...\n")
    spaces: list[dict[str, Any]] = [{"__name__": name} for name in ("one", "two")]
    for space in spaces:
        path = tmp_path / f"{space['__name__']}.py"
        exec(compile(path.read_text(), str(path), "exec"), space)  # noqa: S102 - a module
    other = Buquet("memory:")
    other.task(spaces[0]["ping"])
    with pytest.raises(InvalidError, match=r"two tasks are named 'ping': one\.ping and two\.ping"):
        other.task(spaces[1]["ping"])


def test_hooks_that_are_alike_are_all_called() -> None:
    other = Buquet("memory:")
    seen: list[int] = []
    other.task(name="nothing")(lambda: None)
    for n in range(2):
        other.on_startup(lambda n=n: seen.append(n))
    with other.worker():
        pass
    assert seen == [0, 1]
