"""The operations on runs of the fake engine."""

from __future__ import annotations

import itertools
import time
from typing import Any

from buquet.errors import ConflictError, InvalidError, LeaseLostError, NotFoundError
from tests.unit.fake_run import FakeRun, now

OVER = ("completed", "failed", "cancelled")
_PARKS_AFTER = 1_000


class FakeRuns:
    """What the fake engine does with runs."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, FakeRun] = {}
        self.lost_runs: list[dict[str, str]] = []
        self.woken_runs: list[dict[str, str]] = []
        self.driver_types: list[str] = []
        self.drivers_draining = False
        self.outputs_refused_over = 1_000_000
        self.outputs_set_aside_over = 1_000_000
        self.set_aside: dict[str, Any] = {}
        self._run_numbers = itertools.count(1)

    def run(self, name: str) -> FakeRun:
        """A run by its id or name."""
        for run in self.runs.values():
            if name in {run.id, run.request.get("id")}:
                return run
        raise NotFoundError(f"there is no run {name}")

    def lose_run(self, name: str) -> None:
        """Take a run's lease away."""
        run = self.run(name)
        assert run.lease is not None
        self.lost_runs.append({"id": run.id, "lease": run.lease, "reason": "the test took it"})
        run.lease = None
        run.status = "pending"

    # Workers.

    def start_driver(self, request: Any) -> Any:
        self.driver_types = request["types"]
        self.drivers_draining = False
        return {"worker": "driver-1"}

    def next_for_driver(self, request: Any) -> Any:
        end = time.monotonic() + request["wait"]
        knew = self.drivers_draining

        def poll() -> Any:
            lost, woken, found = self.lost_runs, self.woken_runs, self._claim_runs(request["max"])
            told = self.drivers_draining and not knew
            if not (lost or woken or found or told or time.monotonic() >= end):
                return None
            self.lost_runs, self.woken_runs = [], []
            state = "draining" if self.drivers_draining else "running"
            return {"assignments": found, "lost": lost, "woken": woken, "state": state}

        return poll

    def _claim_runs(self, most: int) -> list[Any]:
        found: list[Any] = []
        for run in self.runs.values():
            if run.status == "waiting" and run.lease is None and (run.offers() or run.steps_due()):
                run.status = "pending"
            kind = "workflow:" + run.request["workflow"]
            is_free = run.status in {"pending", "running"} and run.lease is None and kind in self.driver_types
            if not self.drivers_draining and len(found) < most and is_free:
                run.lease = f"run-lease-{next(self._run_numbers)}"
                run.status = "running"
                expires = "2030-01-01T00:00:00Z"
                found.append(
                    {
                        "id": run.id,
                        "lease": run.lease,
                        "type": kind,
                        "input": None,
                        "attempt": 1,
                        "timeout_ms": 300_000,
                        "expires_at": expires,
                    }
                )
        return found

    # Drivers.

    def _held(self, request: Any) -> FakeRun:
        run = self.runs[request["id"]]
        if run.lease != request["lease"]:
            raise LeaseLostError(f"the lease of run {run.id} is gone")
        return run

    def _op_run_open(self, request: Any) -> Any:
        run = self._held(request)
        run.opened += 1
        for state in run.open.values():
            state.pop("running", None)  # interrupted
        facts = {"id": run.id, "name": run.request["workflow"], "began": run.began, "patches": run.patches}
        facts |= {"generation": run.generation, "execution": run.execution, "version": run.request.get("version")}
        return {"run": facts, "input": run.input, "entries": run.entries, "now": now()}

    def _op_run_reopen(self, request: Any) -> Any:
        return self._op_run_open(request)

    def _op_run_report(self, request: Any) -> Any:
        run = self._held(request)
        state = run.open.get(request["op"])
        if state is None or state.get("attempt") != request["attempt"]:
            return {"reported": "dropped"}
        if len(str(request.get("output"))) > self.outputs_refused_over:
            raise InvalidError("the output is too large")
        state.pop("running", None)
        if request["outcome"] == "released":
            run.released.append(request["op"])
            state["attempt"] -= 1
            return {"reported": "taken"}
        result = {key: request[key] for key in ("outcome", "output", "error") if key in request}
        retries = run.ask(request["op"]).get("retry", {}).get("max_retries", 3)
        if request["outcome"] == "failed" and request.get("retry", True) and state["attempt"] <= retries:
            state["again_at"] = request.get("retry_at", now() + 1)
            return {"reported": "again", "again_at": state["again_at"]}
        state.pop("again_at", None)
        if len(str(result.get("output"))) > self.outputs_set_aside_over:
            key = f"results/{request['op']}"
            self.set_aside[key] = result.pop("output")
            result["output_ref"] = {"key": key, "sha256": "0" * 64, "bytes": 1}
        state["result"] = result | {"attempts": state["attempt"]}
        return {"reported": "taken"}

    def _op_run_next(self, request: Any) -> Any:
        run = self._held(request)
        run.offered = run.offers()
        return {
            "told": run.offered,
            "round": bool(run.offered or run.steps_due()) or self._parks(run),
            "terminated": run.is_terminated,
            "again_at": run.again_at(),
            "now": now(),
        }

    def _parks(self, run: FakeRun) -> bool:
        again_at = run.again_at()
        is_busy = any(state.get("running") for state in run.open.values())
        return not is_busy and (again_at is None or again_at > now() + _PARKS_AFTER)

    def _op_run_advance(self, request: Any) -> Any:
        run = self._held(request)
        stop: list[int] = []
        for entry in request.get("entries", []):
            self._append(run, entry, stop)
        run.patches |= request.get("patches", {})
        run.published |= request.get("published", {})
        end = {"cancelled": None} if run.is_terminated else request.get("end")
        if end is not None:
            return self._end(run, end, stop)
        start: list[Any] = []
        for op in run.steps_due():
            state = run.open[op]
            state["attempt"] = state.get("attempt", 0) + 1
            state["running"] = True
            state.pop("again_at", None)
            start.append({"op": op, "attempt": state["attempt"]})
        state = "running"
        if not start and not run.offers() and self._parks(run):
            state = "parked"
            run.lease = None
            run.status = run.status if run.status == "paused" else "waiting"
        return {"stored": True, "state": state, "status": run.status, "start": start, "stop": stop, "now": now()}

    def _append(self, run: FakeRun, entry: dict[str, Any], stop: list[int]) -> None:
        if "told" in entry:
            told = next(each for each in run.offered if each.get("op") == entry.get("op"))
            run.entries.append(told)
            if told["told"] == "cancel":
                run.has_told_cancel = True
                return
            del run.open[told["op"]]
            if told["told"] == "signal" and told["outcome"] == "completed":
                run.signals.remove(next(each for each in run.signals if each["id"] == told["id"]))
            return
        entry["at"] = run.entries[-1]["at"] if run.entries else run.began
        run.entries.append(entry)
        if entry["ask"] == "cancel":
            if run.open.pop(entry["op"]).get("running"):
                stop.append(entry["op"])
        else:
            run.open[len(run.entries) - 1] = {}

    def _end(self, run: FakeRun, end: dict[str, Any], stop: list[int]) -> Any:
        ((how, value),) = end.items()
        stop += [op for op, state in run.open.items() if state.get("running")]
        if how == "continued":
            run.entries, run.open, run.patches = [], {}, {}
            run.input, run.execution, run.began = value, run.execution + 1, now()
            return {"stored": True, "state": "continued", "status": "running", "stop": stop, "now": now()}
        run.status, run.lease, run.open = how, None, {}
        run.output, run.error = (value, None) if how == "completed" else (None, value)
        return {"stored": True, "state": "ended", "status": how, "stop": stop, "now": now()}

    def _op_run_mismatch(self, request: Any) -> Any:
        run = self._held(request)
        run.mismatch, run.status, run.lease = request["mismatch"], "paused", None
        run.pause = {"mismatch": request["mismatch"], "reason": request["mismatch"]["message"]}
        return {"stored": True, "state": "parked", "status": "paused", "now": now()}

    def _op_run_release(self, request: Any) -> Any:
        run = self._held(request)
        run.lease, run.status = None, "pending"
        return {"released": True}

    # Anybody.

    def _op_workflow_start(self, request: Any) -> Any:
        for run in self.runs.values():
            if request.get("id") is not None and run.request.get("id") == request["id"]:
                if run.input != request["input"]:
                    raise ConflictError(f"run {request['id']} has another input")
                return {"id": run.id, "key": request["id"], "created": False, "status": run.status}
        run = self._start(request)
        return {"id": run.id, "key": request.get("id"), "created": True, "status": run.status}

    def _start(self, request: dict[str, Any]) -> FakeRun:
        run = FakeRun(f"run-{next(self._run_numbers)}", request)
        self.runs[run.id] = run
        return run

    def _op_workflow_start_many(self, request: Any) -> Any:
        return {"ids": [self._start({**request, "input": each}).id for each in request["inputs"]]}

    def _op_workflow_get(self, request: Any) -> Any:
        names = {name: run for run in self.runs.values() for name in (run.id, run.request.get("id"))}
        return {"runs": [names[each].shown() if each in names else None for each in request["ids"]]}

    def _op_workflow_list(self, request: Any) -> Any:
        wanted = request.get("status")
        runs = [run.shown() for run in self.runs.values() if wanted is None or run.status in wanted]
        return {"runs": runs[: request["limit"]], "cursor": None, "corrupt": []}

    def _op_workflow_history(self, request: Any) -> Any:
        run = self.run(request["id"])
        return {"run": run.shown(), "entries": run.entries, "steps": []}

    def _op_workflow_wait(self, request: Any) -> Any:
        run = self.run(request["id"])
        return lambda: run.shown() if run.status in OVER else None

    def _op_workflow_prune(self, request: Any) -> Any:
        is_first = "cursor" not in request
        return {"runs": 2 if is_first else 1, "records": 1, "sealed": 1, "cursor": "2" if is_first else None}

    def _op_workflow_read(self, request: Any) -> Any:
        return {"value": self.set_aside[request["key"]]}

    def _op_workflow_signal(self, request: Any) -> Any:
        run = self.run(request["id"])
        if run.status in OVER:
            return {"outcome": "ended", "status": run.status}
        signal_id = request.get("signal_id") or f"signal-{next(self._run_numbers)}"
        run.signals.append({"name": request["name"], "payload": request["payload"], "id": signal_id})
        self._wake(run)
        return {"outcome": "sent", "status": run.status}

    def _wake(self, run: FakeRun) -> None:
        if run.lease is not None:
            self.woken_runs.append({"id": run.id, "lease": run.lease})

    def _op_workflow_callback(self, request: Any) -> Any:
        run_id, *_, op = request["token"].rsplit(".", 3)
        run = self.run(run_id)
        state = run.open.get(int(op))
        if state is None:
            return {"outcome": "ended", "status": run.status}
        state["result"] = {key: request[key] for key in ("outcome", "output", "error") if key in request}
        self._wake(run)
        return {"outcome": "sent", "status": run.status}

    def _op_workflow_cancel(self, request: Any) -> Any:
        run = self.run(request["id"])
        if run.status in OVER:
            return {"outcome": "ended", "status": run.status}
        run.cancel = {"reason": request.get("reason"), "by": request.get("by")}
        self._wake(run)
        return {"outcome": "noted", "status": run.status}

    def _op_workflow_terminate(self, request: Any) -> Any:
        run = self.run(request["id"])
        run.is_terminated = True
        self._wake(run)
        return {"outcome": "noted", "status": run.status}

    def _op_workflow_pause(self, request: Any) -> Any:
        run = self.run(request["id"])
        if run.status in OVER:
            return {"outcome": "ended", "status": run.status}
        run.status = "paused"
        self._wake(run)
        return {"outcome": "noted", "status": run.status}

    def _op_workflow_resume(self, request: Any) -> Any:
        run = self.run(request["id"])
        run.status = "running" if run.lease else "pending"
        self._wake(run)
        return {"outcome": "noted", "status": run.status}
