"""The picture of the comparison."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from benchmarks.report import number

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.report import Result

OURS, PEERS = "#1f6f78", "#b9b4a8"


def draw(results: Sequence[Result], path: Path) -> None:
    """Draw drain rate, drain per CPU second, and pick-up latency, a bar for each system."""
    # Imported here, for only this needs Matplotlib; as Any, for its types do not hold up to strict checking.
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "buquet"  # the same picture for the same figures
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    panels = (
        ("drain, tasks/s", [result.drain_per_s for result in results]),
        ("drained per CPU second,\nserver included", [result.drain_per_cpu_s for result in results]),
        ("pick-up, median ms", [result.pickup_p50 for result in results]),
    )
    figure, axes = pyplot.subplots(1, len(panels), figsize=(12, 0.5 * len(results) + 1.2), sharey=True)
    places = list(range(len(results)))
    colours = [OURS if result.is_ours else PEERS for result in results]
    for axis, (title, values) in zip(axes, panels, strict=True):
        axis.barh(places, values, color=colours)
        axis.set_xscale("log")
        axis.set_xlim(min(values) / 3, max(values) * 4)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("logarithmic", fontsize=8)
        axis.spines[["top", "right"]].set_visible(b=False)
        for place, value in zip(places, values, strict=True):
            axis.annotate(f" {number(value)}", (value, place), va="center", fontsize=8)
    axes[0].set_yticks(places, [result.label for result in results])
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)
