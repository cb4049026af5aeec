"""How many CPUs there are for this process, which may be fewer than the machine has."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """CPUs that this process may use: by its affinity, and by the limit of its container."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = cgroup_limit(_CGROUPS, _own_cgroup())
    return max(1, affinity if limit is None else min(affinity, int(limit)))


def _own_cgroup() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return line[3:]
    return "/"


def cgroup_limit(root: Path, own: str) -> float | None:
    """The CPUs that a group of processes, and all groups around it, may use at most; None without a limit."""
    limits: list[float] = []
    place = root / own.strip("/")
    for group in (place, *place.parents):
        if not group.is_relative_to(root):
            break
        with contextlib.suppress(OSError, ValueError):  # no limit there, or none at all on this system
            quota, period = (group / "cpu.max").read_text().split()
            limits.append(int(quota) / int(period))
    return min(limits, default=None)
