"""Submitting tasks that run after others, with the results of those as their first argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from buquet._sending import submit, submit_async
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buquet._about import On
    from buquet._client import Client
    from buquet._handle import TaskHandle
    from buquet._options import SubmitOptions
    from buquet._vault import Parcel

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Next(Protocol[T_co]):
    """A task that can run after others."""

    @property
    def name(self) -> str:
        """The task type's name."""
        ...

    @property
    def client(self) -> Client:
        """The queue that it is of."""
        ...

    def after(
        self, ids: Sequence[str], on: On, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, one: bool
    ) -> tuple[Parcel, SubmitOptions]:
        """Pack the call, without its first argument."""
        ...

    def stored(self, task_id: str) -> TaskHandle[T_co]:
        """A handle of the task that it became."""
        ...


class Before(NamedTuple):
    """What a task runs after."""

    client: Client
    ids: Sequence[str]
    one: bool


def then(before: Before, task: Next[T], on: On, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TaskHandle[T]:
    """Submit ``task`` to run after others.

    :raises InvalidError: it is of another queue, or too many tasks wait for the same.
    """
    parcel, options = _packed(before, task, on, args, kwargs)
    return task.stored(submit(task.client.vault, task.name, parcel, options).id)


async def then_async(
    before: Before, task: Next[T], on: On, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> TaskHandle[T]:
    """Likewise, for async code."""
    parcel, options = _packed(before, task, on, args, kwargs)
    return task.stored((await submit_async(task.client.vault, task.name, parcel, options)).id)


def _packed(
    before: Before, task: Next[Any], on: On, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Parcel, SubmitOptions]:
    mine, theirs = task.client, before.client
    if mine is not theirs and mine.config.place != theirs.config.place:
        raise InvalidError(f"task {task.name!r} is of another queue than what it is to run after")
    return task.after(before.ids, on, args, kwargs, one=before.one)
