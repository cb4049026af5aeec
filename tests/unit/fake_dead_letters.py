"""The operations on finished tasks of the engine in this process: list, replay, archive and purge them."""

from __future__ import annotations

from typing import Any


class FakeDeadLetters:
    """Tasks in a dictionary, and what is done about those that have failed."""

    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[str, dict[str, Any]] = {}

    def _op_failed(self, request: Any) -> Any:
        failed = [task for task in self.tasks.values() if _wanted(task, request)]
        start, limit = int(request.get("cursor", 0)), request["limit"]
        end = start + limit
        return {"tasks": failed[start:end], "cursor": str(end) if end < len(failed) else None, "corrupt": []}

    def _op_replay(self, request: Any) -> Any:
        return {"results": [self._move(task_id, "replayed", "pending") for task_id in request["ids"]]}

    def _op_archive(self, request: Any) -> Any:
        return {"results": [self._move(task_id, "archived", "archived") for task_id in request["ids"]]}

    def _op_replay_many(self, request: Any) -> Any:
        return self._move_many(request, "pending")

    def _op_archive_many(self, request: Any) -> Any:
        return self._move_many(request, "archived")

    def _move(self, task_id: str, verb: str, status: str) -> Any:
        if task_id not in self.tasks:
            return {"id": task_id, "outcome": "missing", "message": f"there is no task {task_id}"}
        task = self.tasks[task_id]
        if task["status"] != "failed":
            return {"id": task_id, "outcome": "refused", "message": f"task {task_id} is {task['status']}"}
        task["status"] = status
        return {"id": task_id, "outcome": verb}

    def _move_many(self, request: Any, status: str) -> Any:
        """One task a step, so that there are steps."""
        failed = [task for task in self.tasks.values() if _wanted(task, request)]
        for task in failed[:1]:
            task["status"] = status
        return {
            "tasks": len(failed[:1]),
            "records": len(failed[:1]),
            "cursor": "1" if failed[1:] else None,
            "corrupt": [],
        }

    def _op_purge(self, request: Any) -> Any:
        gone = [name for name, task in self.tasks.items() if task["status"] in request["status"]]
        for name in gone if not request["dry_run"] else ():
            del self.tasks[name]
        step = {"tasks": len(gone), "records": len(gone), "kept": 0, "bytes": 100 * len(gone)}
        return {**step, "cursor": None, "corrupt": []}


def _wanted(task: dict[str, Any], request: Any) -> bool:
    error = task["error"]["type"] if task["error"] else None
    return task["status"] == "failed" and request.get("error", error) == error
