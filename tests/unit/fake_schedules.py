"""The operations on schedules of the engine in this process: it keeps them and fires none."""

from __future__ import annotations

from typing import Any

from buquet.errors import NotFoundError

NOW = "2026-11-25T12:00:00.000Z"


class FakeSchedules:
    """Schedules in a dictionary."""

    def __init__(self) -> None:
        self.schedules: dict[str, dict[str, Any]] = {}
        self.sync_answer: dict[str, Any] = {"created": [], "changed": [], "missing": []}

    def _op_schedule_put(self, request: Any) -> Any:
        schedule = {"id": "0" * 16, "created_at": NOW, "changed_at": NOW, "next": NOW, "enabled": True}
        kept = ("name", "type", "input", "cron", "timezone", "overlap", "catch_up")
        schedule |= {name: request[name] for name in kept if name in request}
        self.schedules[request["name"]] = schedule
        return {"schedule": schedule, "changed": True}

    def _op_schedule_get(self, request: Any) -> Any:
        if request["name"] not in self.schedules:
            raise NotFoundError(f"there is no schedule {request['name']!r}")
        return self.schedules[request["name"]]

    def _op_schedule_list(self, _: Any) -> Any:
        return {"schedules": list(self.schedules.values()), "cursor": None, "corrupt": []}

    def _op_schedule_delete(self, request: Any) -> Any:
        self._op_schedule_get(request)
        del self.schedules[request["name"]]
        return {}

    def _op_schedule_enable(self, request: Any) -> Any:
        return self._op_schedule_get(request) | {"enabled": True}

    def _op_schedule_disable(self, request: Any) -> Any:
        return self._op_schedule_get(request) | {"enabled": False}

    def _op_schedule_trigger(self, request: Any) -> Any:
        self._op_schedule_get(request)
        return {"id": "task-of-a-trigger"}

    def _op_schedule_backfill(self, request: Any) -> Any:
        return {"slots": [{"slot": request["from"], "task": "task-1", "created": True}]}

    def _op_schedule_preview(self, request: Any) -> Any:
        return {"slots": [NOW] * request["count"]}

    def _op_schedule_sync(self, request: Any) -> Any:
        for schedule in request["schedules"]:
            self._op_schedule_put(schedule)
        return self.sync_answer
