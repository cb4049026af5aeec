"""The demo does the main job: every file of the standard library counted by tasks, and counted right."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.processes import clean_environment

if TYPE_CHECKING:
    from tests.support.s3 import Bucket


def demo(folder: Path, *arguments: str) -> str:
    """Run the demo in a folder and return what it printed."""
    command = ["buquet", "demo", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_on_the_embedded_store(tmp_path: Path) -> None:
    printed = demo(tmp_path)
    library = Path(sysconfig.get_path("stdlib"))
    assert "The ten largest files" in printed
    assert "Totals: " in printed
    timeline = printed[printed.index("The life of one task") :]
    assert timeline.index("pending") < timeline.index("running") < timeline.index("completed")
    assert "$" not in printed, "nobody pays for a file"
    for part in ("PUT", str(library), f"sqlite:{tmp_path}/.buquet/buquet.db", "buquet status "):
        assert part in printed


def test_the_demo_says_at_once_what_it_does(tmp_path: Path) -> None:
    command = ["buquet", "demo", "--url", "memory:"]  # refused, since processes cannot share it
    done = subprocess.run(
        command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert done.stdout.startswith("counting the Python files of ")


def test_the_demo_on_s3_in_json(tmp_path: Path, bucket: Bucket) -> None:
    told = json.loads(demo(tmp_path, "--url", bucket.url(), "--json"))
    assert told["dollars"] > 0
    records = bucket.keys("queue/tasks/")
    assert records
    assert not (tmp_path / ".buquet").exists()
