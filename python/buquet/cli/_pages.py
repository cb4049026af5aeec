"""Reading as many tasks as a command is to print."""

from collections.abc import Callable

from buquet._client import Call, Client
from buquet._models import TaskPage


def read_page(
    client: Client, ask: Callable[[int, str | None], Call[TaskPage, TaskPage]], limit: int, cursor: str | None
) -> TaskPage:
    """Read pages until there are ``limit`` tasks or no more: a page may be short and still not be the last."""
    page = client.call(ask(limit, cursor))
    tasks, corrupt = list(page.tasks), list(page.corrupt)
    while page.cursor is not None and len(tasks) < limit:
        page = client.call(ask(limit - len(tasks), page.cursor))
        tasks += page.tasks
        corrupt += page.corrupt
    return TaskPage(tasks=tasks, cursor=page.cursor, corrupt=corrupt)
