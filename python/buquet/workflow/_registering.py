"""Which workflows a worker has, each under its name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from buquet._identity import is_same, where
from buquet.errors import InvalidError
from buquet.workflow._definition import WorkflowFunction

if TYPE_CHECKING:
    from collections.abc import Iterable


def register(known: dict[str, WorkflowFunction[..., Any]], workflows: Iterable[object]) -> None:
    """Add workflows to those that are known.

    :raises InvalidError: one is no workflow, or there is another of its name.
    """
    for workflow in workflows:
        if not isinstance(workflow, WorkflowFunction):
            raise InvalidError(f"{workflow!r} is no workflow; declare one with @workflow or @app.workflow")
        other = known.get(workflow.name)
        if other is not None and not is_same(other.function, workflow.function):
            raise InvalidError(
                f"two workflows are named {workflow.name!r}: {where(other.function)} and {where(workflow.function)}; "
                "give one of them another name="
            )
        known[workflow.name] = workflow
