"""What became of tasks, revision by revision: the evidence that nothing was committed twice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buquet import TaskHandle
    from tests.support.proxy import Proxy
    from tests.support.s3 import Bucket


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A task as one commit left it."""

    status: str
    output: Any
    attempt: int
    completed_at: datetime | None
    """Another with each commit that completes the task."""


Story = list[Revision]
"""A task's revisions, oldest first."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a queue lives, and how to look at what is stored there."""

    url: str
    bucket: Bucket | None = None
    proxy: Proxy | None = None

    def stories(self, tasks: Iterable[TaskHandle[Any]]) -> dict[str, Story]:
        """Return the tasks' stories by id: from the versions in the bucket where there is one, else from `history`."""
        if self.bucket is not None:
            return stories_in(self.bucket)
        return {
            task.id: [
                Revision(
                    status=event.task.status.value,
                    output=event.task.output,
                    attempt=event.task.attempt,
                    completed_at=event.task.completed_at,
                )
                for event in task.history().events
            ]
            for task in tasks
        }


def stories_in(bucket: Bucket) -> dict[str, Story]:
    """Return the stories of all tasks in a bucket's queue, read past buquet."""
    stories: dict[str, Story] = {}
    for _, body in bucket.versions("queue/tasks/"):
        record = json.loads(body)
        for task in record["tasks"]:
            completed = task.get("completed_at")
            revision = Revision(
                status=task["status"],
                output=task.get("output"),
                attempt=task["attempt"],
                completed_at=datetime.fromisoformat(completed) if completed else None,
            )
            stories.setdefault(task_id(record["id"], task["n"]), []).append(revision)
    return stories


def task_id(record: str, n: int) -> str:
    """Return the id of a record's n-th task: the record's, with its low 16 bits holding n."""
    return f"{record[:-4]}{n:04x}"


def changed_after_completion(stories: dict[str, Story]) -> list[str]:
    """Return the ids of tasks whose first completed revision was followed by anything but itself."""
    wrong: list[str] = []
    for name, story in stories.items():
        completed = next((n for n, revision in enumerate(story) if revision.status == "completed"), len(story))
        if any(later != story[completed] for later in story[completed:]):
            wrong.append(name)
    return wrong
