"""An engine in this process, behind the same interface as the native one.

It keeps tasks in a dictionary, waits with a condition, and lets a test script what goes wrong.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
import weakref
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from buquet._durations import seconds
from buquet.errors import BuquetError, ClosedError, InvalidError, LeaseLostError, NotFoundError, WaitTimeoutError
from tests.unit.fake_dead_letters import FakeDeadLetters
from tests.unit.fake_runs import FakeRuns
from tests.unit.fake_schedules import FakeSchedules

if TYPE_CHECKING:
    from collections.abc import Callable

TERMINAL = ("completed", "failed", "cancelled", "expired", "archived")


class Pending:
    """An operation that waits for something to change."""

    def __init__(self, queue: FakeQueue, token: int, poll: Callable[[], Any], deadline: float) -> None:
        self.queue = queue
        self.token = token
        self.poll = poll
        self.deadline = deadline


class FakeQueue:
    """A completion queue with a pipe to poll."""

    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.closed = False
        self._ready: deque[dict[str, Any]] = deque()
        self._read, self._write = os.pipe()

    def submit(self, op: str, request: bytes, token: int) -> None:
        if self.closed:
            raise ClosedError("the queue is closed")
        self.engine.accept(self, op, json.loads(request), token)

    def cancel(self, token: int) -> None:
        self.engine.cancel(self, token)

    def complete(self, completion: dict[str, Any]) -> None:
        if not self.closed:
            if not self._ready:
                os.write(self._write, b"x")
            self._ready.append(completion)

    def fileno(self) -> int:
        return self._read

    def wait(self, timeout_ms: int) -> bool:
        with self.engine.changed:
            self.engine.changed.wait_for(lambda: self._ready or self.closed, timeout_ms / 1000)
            if self.closed:
                raise ClosedError("the queue is closed")
            return bool(self._ready)

    def drain(self, limit: int) -> bytes | None:
        with self.engine.changed:
            taken = [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]
            if taken and not self._ready:
                os.read(self._read, 1)
        return json.dumps(taken).encode() if taken else None

    def close(self) -> None:
        with self.engine.changed:
            if not self.closed:
                self.closed = True
                self.engine.queues.discard(self)
                os.close(self._read)
                os.close(self._write)
                self.engine.changed.notify_all()

    def __del__(self) -> None:
        self.close()


class FakeEngine(FakeRuns, FakeDeadLetters, FakeSchedules):
    """All operations of one queue, in memory."""

    def __init__(self, config: bytes = b"{}") -> None:
        super().__init__()
        self.config = json.loads(config)
        self.changed = threading.Condition()
        self.queues: weakref.WeakSet[FakeQueue] = weakref.WeakSet()
        self.closed = False
        self.leases: dict[str, str] = {}
        self.lost: list[dict[str, str]] = []
        self.called_off: list[dict[str, str | None]] = []
        self.warnings: list[str] = []
        self.calls: list[tuple[str, Any]] = []
        self.failures: dict[str, deque[BuquetError]] = {}
        self.options: dict[str, Any] = {}
        self.schemas: dict[str, Any] = {}
        self.refuse_outputs_over = 1_000_000
        self.draining = False
        self._numbers = itertools.count(1)
        self._pending: list[Pending] = []
        self._thread = threading.Thread(target=self._watch, name="fake-engine", daemon=True)
        self._thread.start()

    # What tests use.

    def fail_next(self, op: str, error: BuquetError) -> None:
        """Let the next call of an operation fail."""
        self.failures.setdefault(op, deque()).append(error)

    def lose(self, task_id: str) -> None:
        """Take a running task's lease away, as another worker's sweeper does."""
        with self.changed:
            lease = self.leases.pop(task_id)
            self.lost.append({"id": task_id, "lease": lease, "reason": "the test took it"})
            self.tasks[task_id]["status"] = "pending"
            self.tasks[task_id]["available_at"] = _later(3600)
            self._step()

    def requests(self, op: str) -> list[Any]:
        """The requests of one operation so far."""
        return [request for name, request in self.calls if name == op]

    # What the client uses.

    def open_queue(self) -> FakeQueue:
        queue = FakeQueue(self)
        self.queues.add(queue)
        return queue

    def close(self, timeout_ms: int) -> None:
        del timeout_ms
        with self.changed:
            self.closed = True
            for pending in self._pending:
                pending.queue.complete(_error(pending.token, ClosedError("the engine is closed")))
            self._pending.clear()
            self.changed.notify_all()

    def accept(self, queue: FakeQueue, op: str, request: Any, token: int) -> None:
        with self.changed:
            self.calls.append((op, request))
            try:
                if self.failures.get(op):
                    raise self.failures[op].popleft()
                answer = self._call(op, request)
            except BuquetError as error:
                queue.complete(_error(token, error))
            else:
                if callable(answer):
                    deadline = time.monotonic() + seconds(request.get("wait", request.get("timeout", 1e6)), "wait")
                    self._pending.append(Pending(queue, token, answer, deadline))
                else:
                    queue.complete({"token": token, "ok": answer})
            self._step()

    def cancel(self, queue: FakeQueue, token: int) -> None:
        with self.changed:
            for pending in list(self._pending):
                if pending.queue is queue and pending.token == token:
                    self._pending.remove(pending)
                    queue.complete(_error(token, ClosedError("cancelled")))
            self.changed.notify_all()

    def _watch(self) -> None:
        with self.changed:
            while not self.closed:
                self.changed.wait(0.02)
                self._step()

    def _step(self) -> None:
        """Complete what can be completed by now. The lock is held."""
        for pending in list(self._pending):
            over = time.monotonic() >= pending.deadline
            try:
                answer = pending.poll()
                if answer is None and over:
                    raise WaitTimeoutError("the time is up")
            except BuquetError as error:
                completion: dict[str, Any] | None = _error(pending.token, error)
            else:
                completion = None if answer is None else {"token": pending.token, "ok": answer}
            if completion is not None:
                self._pending.remove(pending)
                pending.queue.complete(completion)
        self.changed.notify_all()

    # The operations.

    def _call(self, op: str, request: Any) -> Any:
        return getattr(self, "_op_" + op.replace(".", "_"))(request)

    def _op_connect(self, _: Any) -> Any:
        return {"url": "fake:", "store": "memory", "format": 1, "source": "a test", "versions_kept": True}

    def _op_config(self, _: Any) -> Any:
        values = {"worker.concurrency": 20, "worker.prefetch": None, "worker.pool_processes": None, **self.options}
        values.setdefault("worker.drain", "25s")
        options = [
            {"name": name, "value": value, "source": "default", "variable": ""} for name, value in values.items()
        ]
        return {"file": None, "store": [], "options": options, "credentials": None}

    def _op_doctor(self, _: Any) -> Any:
        checks = [{"name": "store", "status": "ok", "what": "it answers"}]
        return {"status": "ok", "url": "fake:", "checks": checks, "requests": {"get": 1}}

    def _op_schema_put(self, request: Any) -> Any:
        self.schemas.update(request["schemas"])
        return {"changed": True}

    def _op_schema_get(self, request: Any) -> Any:
        return {"type": request["type"], **self.schemas[request["type"]]}

    def _op_schema_check(self, request: Any) -> Any:
        return {"has_schema": "input" in self.schemas.get(request["type"], {})}

    def _op_submit(self, request: Any) -> Any:
        return {"id": self._store(request, request["input"])}

    def _op_submit_many(self, request: Any) -> Any:
        return {"ids": [self._store(request, item) for item in request["inputs"]]}

    def _store(self, request: Any, value: Any) -> str:
        if not request["type"].replace("_", "a").isalnum():
            raise InvalidError(f"type {request['type']!r} is no type name")
        task_id = f"task-{next(self._numbers)}"
        retry = request.get("retry", {})
        self.tasks[task_id] = {
            "id": task_id,
            "type": request["type"],
            "status": "pending",
            "input": value,
            "output": None,
            "attempt": 0,
            "retry_count": 0,
            "max_retries": retry.get("max_retries", 3),
            "priority": request.get("priority", 5),
            "timeout_ms": int(1000 * seconds(request.get("timeout", 300), "timeout")),
            "submitted_at": _later(0),
            "available_at": request.get("at") or _later(request.get("delay", 0)),
            "error": None,
        }
        return task_id

    def _op_cancel(self, request: Any) -> Any:
        return {"tasks": [self._cancel(task_id, request) for task_id in request["ids"]]}

    def _cancel(self, task_id: str, request: Any) -> Any:
        task = self.tasks.get(task_id)
        if task is None:
            return {"id": task_id, "state": "missing"}
        if task["status"] in TERMINAL:
            return {"id": task_id, "state": "finished", "status": task["status"]}
        wish = {"at": datetime.now(UTC).isoformat(), "by": request.get("by"), "reason": request.get("reason")}
        task.setdefault("cancel", wish)
        if task["status"] == "running":
            lease = self.leases[task_id]
            self.called_off.append({"id": task_id, "lease": lease, "by": wish["by"], "reason": wish["reason"]})
            return {"id": task_id, "state": "requested"}
        task["status"] = "cancelled"
        return {"id": task_id, "state": "cancelled"}

    def _op_get(self, request: Any) -> Any:
        return {"tasks": [self.tasks.get(task_id) for task_id in request["ids"]]}

    def _op_list(self, request: Any) -> Any:
        tasks = [t for t in self.tasks.values() if t["status"] in request.get("status", [t["status"]])]
        start = int(request.get("cursor", 0))
        end = start + request["limit"]
        return {"tasks": tasks[start:end], "cursor": str(end) if end < len(tasks) else None, "corrupt": []}

    def _op_history(self, request: Any) -> Any:
        start = int(request.get("cursor", 0))
        event = {"rev": start + 1, "at": _later(0), "commit": "c", "task": self.tasks[request["id"]]}
        return {"events": [event], "cursor": "1" if start == 0 else None, "complete": True}

    def _op_wait(self, request: Any) -> Any:
        if request["id"] not in self.tasks:
            raise NotFoundError(f"there is no task {request['id']}")
        task = self.tasks[request["id"]]
        return lambda: task if task["status"] in TERMINAL else None

    def _op_workers(self, _: Any) -> Any:
        return {"workers": []}

    def _op_usage(self, _: Any) -> Any:
        return {"requests": {"put": 1}, "dollars": 0.5}

    def _op_worker_start(self, request: Any) -> Any:
        if request["types"][0].startswith("workflow:"):
            return self.start_driver(request)
        self.draining = False
        return {"worker": "worker-1"}

    def _op_worker_next(self, request: Any) -> Any:
        if request["worker"] == "driver-1":
            return self.next_for_driver(request)
        end = time.monotonic() + request["wait"]
        knew = self.draining  # a call that begins while draining waits for news as any other

        def poll() -> Any:
            lost, found = self.lost, self._claim(request["max"])
            warnings, wishes = self.warnings, self.called_off
            told = self.draining and not knew
            if not (lost or found or warnings or wishes or told or time.monotonic() >= end):
                return None
            self.lost, self.warnings, self.called_off = [], [], []
            state = "draining" if self.draining else "running"
            news = {"lost": lost, "cancelled": wishes, "warnings": warnings}
            return {"assignments": found, **news, "state": state}

        return poll

    def _claim(self, most: int) -> list[Any]:
        ready = [t for t in self.tasks.values() if t["status"] == "pending" and t["available_at"] <= _later(0)]
        found: list[Any] = []
        for task in [] if self.draining else ready[:most]:
            lease = f"lease-{next(self._numbers)}"
            task.update(status="running", attempt=task["attempt"] + 1)
            self.leases[task["id"]] = lease
            kept = ("id", "type", "input", "attempt", "retry_count", "max_retries", "priority", "timeout_ms")
            expires = _later(task["timeout_ms"] / 1000)
            found.append({"lease": lease, "expires_at": expires, **{name: task[name] for name in kept}})
        return found

    def _op_worker_settle(self, request: Any) -> Any:
        return {"settled": [self._settle(outcome) for outcome in request["outcomes"]]}

    def _settle(self, outcome: Any) -> Any:
        task = self.tasks[outcome["id"]]
        if self.leases.get(task["id"]) != outcome["lease"]:
            return {"id": task["id"], "state": "lease_lost", "message": "gone"}
        if len(json.dumps(outcome.get("output"))) > self.refuse_outputs_over:
            return {"id": task["id"], "state": "refused", "message": "the output is too large"}
        del self.leases[task["id"]]
        kind = outcome["outcome"]
        retry = outcome.get("retry", True) and task["retry_count"] < task["max_retries"]
        if kind == "complete":
            task.update(status="completed", output=outcome["output"])
        elif kind in ("reschedule", "release"):
            task.update(status="pending", available_at=outcome.get("at") or _later(outcome.get("delay", 0)))
        elif kind == "cancel" or task.get("cancel"):
            task.update(status="cancelled")
        else:
            error = outcome.get("error") or {"type": "Timeout", "message": outcome.get("message", "")}
            task.update(status="pending" if retry else "failed", error=error)
            task.update(retry_count=task["retry_count"] + retry, available_at=_later(outcome.get("delay", 0)))
        return {"id": task["id"], "state": "committed", "status": task["status"]}

    def _op_worker_extend(self, request: Any) -> Any:
        if self.leases.get(request["id"]) != request["lease"]:
            raise LeaseLostError("the lease is gone")
        return {"expires_at": _later(request["by"])}

    def _op_worker_progress(self, request: Any) -> Any:
        if self.leases.get(request["id"]) != request["lease"]:
            raise LeaseLostError("the lease is gone")
        self.tasks[request["id"]]["progress"] = {"value": request["value"], "message": request.get("message")}
        return {}

    def _op_worker_stuck(self, _: Any) -> Any:
        return {}

    def _op_worker_drain(self, request: Any) -> Any:
        if request["worker"] == "driver-1":
            self.drivers_draining = True
            return {}
        self.draining = True
        return {}

    def _op_worker_stop(self, request: Any) -> Any:
        if request["worker"] == "driver-1":
            return {"released": 0}
        released = len(self.leases)
        self.leases.clear()
        return {"released": released}


def _later(delay: float | str) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds(delay, "delay"))).isoformat()


def _error(token: int, error: BuquetError) -> dict[str, Any]:
    return {"token": token, "error": {"code": error.code, "message": str(error)}}
