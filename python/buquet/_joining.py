"""Making groups: of handles, of other groups, of calls that are submitted for it, and of ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from buquet._calls import TaskCall, store, store_async
from buquet._group import TaskGroup
from buquet._handle import TaskHandle
from buquet._ids import HasId, ids_of
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from buquet._client import Client

R = TypeVar("R")

Member: TypeAlias = "TaskHandle[R] | TaskGroup[R] | TaskCall[R]"


def group(first: Member[R], *others: Member[R]) -> TaskGroup[R]:
    """Join calls, handles and groups of one queue into one group, in this order. Calls are submitted, together.

    Calls of the same task with the same options share records, about a hundred to each. Handles and groups cost
    nothing. In async code that has calls to submit, ``group_async`` does not block the loop.

    :raises InvalidError: a handle is there twice, or they are of several queues or have different codecs.
    :raises UnavailableError: the store does not answer; some calls may be stored and others not.

    Example::

        both = group(thumbnail.submit("cat.png"), thumbnail.map(["dog.png", "cow.png"]))
        more = group(both, thumbnail.bind("ant.png", size=64), thumbnail.bind("bee.png"))
        print(more.results())
    """
    members = (first, *others)
    client = _client_of(members)
    return _joined(client, members, store(client, _calls_among(members)))


async def group_async(first: Member[R], *others: Member[R]) -> TaskGroup[R]:
    """Like ``group``, for async code.

    Example::

        print(await (await group_async(thumbnail.bind("cat.png"), thumbnail.bind("dog.png", size=64))))
    """
    members = (first, *others)
    client = _client_of(members)
    return _joined(client, members, await store_async(client, _calls_among(members)))


def group_of(client: Client, tasks: Iterable[str | HasId], handle: Callable[[str], TaskHandle[R]]) -> TaskGroup[R]:
    """A group of these tasks.

    :raises InvalidError: they are no collection of tasks or ids, or one is there twice.
    """
    return TaskGroup(client, _distinct([handle(task_id) for task_id in ids_of(tasks)]))


def _client_of(members: Sequence[Member[Any]]) -> Client:
    """The queue of all members; what cannot be joined is refused before anything is submitted."""
    handles: list[TaskHandle[Any]] = []
    for member in members:
        if not isinstance(cast("object", member), TaskHandle | TaskGroup | TaskCall):
            raise InvalidError(
                f"a group is made of handles, groups, and calls such as thumbnail.bind('cat.png'), not of {member!r}"
            )
        client = members[0].client
        if member.client is not client and member.client.config.place != client.config.place:
            raise InvalidError(f"{member!r} is of another queue than {members[0]!r}; a group's tasks are of one queue")
        if member.client is not client and member.client.codecs != client.codecs:
            # What one has encrypted the other could not read, nor may it store the other's in plain.
            raise InvalidError(f"{member!r} has other codecs than {members[0]!r}; make a group for each")
        handles += _handles_of(member)
    _distinct(handles)
    return members[0].client


def _calls_among(members: Sequence[Member[R]]) -> list[TaskCall[R]]:
    return [member for member in members if isinstance(member, TaskCall)]


def _joined(client: Client, members: Sequence[Member[R]], submitted: Sequence[TaskHandle[R]]) -> TaskGroup[R]:
    handles: list[TaskHandle[R]] = []
    fresh = iter(submitted)
    for member in members:
        handles += [next(fresh)] if isinstance(member, TaskCall) else _handles_of(member)
    # Of unique calls two may come to one task, which is there once.
    joined = TaskGroup(client, list({handle.id: handle for handle in handles}.values()))
    for member in members:
        if isinstance(member, TaskGroup):
            joined.join(member)
    return joined


def _handles_of(member: Member[R]) -> Iterable[TaskHandle[R]]:
    if isinstance(member, TaskGroup):
        return member
    return [member] if isinstance(member, TaskHandle) else []


def _distinct(handles: list[TaskHandle[R]]) -> list[TaskHandle[R]]:
    known: set[str] = set()
    for handle in handles:
        if handle.id in known:
            raise InvalidError(f"task {handle.id} is in the group twice; give each task once")
        known.add(handle.id)
    return handles
