"""Runs scripts in processes of their own, with the hash seed that a test wants."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.processes import ROOT, clean_environment


def run_script(text: str, *arguments: str, **settings: str) -> str:
    """Run a Python script that imports from the tests; gives what it printed. Settings are environment variables."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments],
        env=clean_environment(PYTHONPATH=path, **settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
