"""One run of the fake engine: its journal in memory, as simple as it can be."""

from __future__ import annotations

import time
from typing import Any


def now() -> int:
    """The fake store's time."""
    return round(time.time() * 1000)


class FakeRun:
    """One run."""

    def __init__(self, run_id: str, request: dict[str, Any]) -> None:
        self.id = run_id
        self.request = request
        self.input = request.get("input")
        self.status = "pending"
        self.generation = 1
        self.execution = 0
        self.began = now()
        self.entries: list[dict[str, Any]] = []
        self.open: dict[int, dict[str, Any]] = {}
        self.signals: list[dict[str, Any]] = []
        self.patches: dict[str, bool] = {}
        self.published: dict[str, Any] = {}
        self.output: Any = None
        self.error: Any = None
        self.lease: str | None = None
        self.pause: Any = None
        self.cancel: dict[str, Any] | None = None
        self.has_told_cancel = False
        self.mismatch: Any = None
        self.is_terminated = False
        self.offered: list[dict[str, Any]] = []
        self.released: list[int] = []
        self.opened = 0

    def ask(self, op: int) -> dict[str, Any]:
        return self.entries[op]

    def offers(self) -> list[dict[str, Any]]:
        """What the body may be told now."""
        if self.status == "paused":
            return []
        told: list[dict[str, Any]] = []
        if self.cancel is not None and not self.has_told_cancel:
            told.append({"told": "cancel", "at": now(), **self.cancel})
        used: set[int] = set()
        for op, state in self.open.items():
            told += self._offer(op, self.ask(op), state, used)
        return told

    def _offer(self, op: int, ask: dict[str, Any], state: dict[str, Any], used: set[int]) -> list[dict[str, Any]]:
        kind, is_due = ask["ask"], (ask.get("until") or 1e18) <= now()
        head = {"told": kind, "op": op, "at": now()}
        if state.get("result") is not None:
            return [head | state["result"]]
        if kind == "timer" and is_due:
            return [head]
        if kind == "callback" and is_due:
            return [head | {"outcome": "timeout", "error": {"type": "CallbackTimeout", "message": "late"}}]
        if kind == "signal":
            for place, signal in enumerate(self.signals):
                if signal["name"] == ask["name"] and place not in used:
                    used.add(place)
                    return [head | {"outcome": "completed", "payload": signal["payload"], "id": signal["id"]}]
            return [head | {"outcome": "timeout"}] if is_due else []
        return []

    def steps_due(self) -> list[int]:
        """Steps to be started."""
        if self.status == "paused":
            return []
        return [
            op
            for op, state in self.open.items()
            if self.ask(op)["ask"] == "step"
            and not state.get("running")
            and state.get("result") is None
            and state.get("again_at", 0) <= now()
        ]

    def again_at(self) -> int | None:
        """When there is something to do by itself."""
        times = [self.ask(op).get("until") for op, state in self.open.items() if state.get("result") is None]
        times += [state.get("again_at") for state in self.open.values()]
        return min((moment for moment in times if moment is not None), default=None)

    def shown(self) -> dict[str, Any]:
        """The run as clients read it."""
        return {
            "id": self.id,
            "key": self.request.get("id"),
            "workflow": self.request["workflow"],
            "version": self.request.get("version"),
            "generation": self.generation,
            "execution": self.execution,
            "status": self.status,
            "input": self.input,
            "output": self.output,
            "error": self.error,
            "pause": self.pause,
            "published": self.published,
            "entries": len(self.entries),
            "patches": self.patches,
            "submitted_at": "2026-11-29T08:00:00Z",
        }
