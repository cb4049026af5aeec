"""A cargo that compiles nothing: it notes what it was asked and names the library that it was told to make."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def install(folder: Path, *, version: str = "99.0.0", stderr: str = "", status: int = 0) -> Path:
    """Put it into `folder`; its arguments go to `asked` beside it, one call a line."""
    library = folder / "target" / "libbuquet.so"
    library.parent.mkdir(parents=True)
    library.write_bytes(b"\x7fELF")
    artifact = {"reason": "compiler-artifact", "target": {"name": "buquet"}, "filenames": [str(library)]}
    (folder / "answer").write_text(json.dumps(artifact), "utf-8")
    (folder / "stderr").write_text(stderr, "utf-8")
    lines = [
        f'[ "$1" = --version ] && echo "cargo {version}" && exit',
        f'echo "$@" >>{folder}/asked',
        f"cat {folder}/stderr >&2",
        f"cat {folder}/answer",
        f"exit {status}",
    ]
    return script(folder / "cargo", *lines)


def script(path: Path, *lines: str) -> Path:
    """Write an executable shell script and return its path."""
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]), "utf-8")
    path.chmod(0o755)
    return path


def environment(cargo: Path | str, **more: str) -> dict[str, str]:
    """Return the environment of a build with this cargo and nothing else asked for."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BUQUET_")}
    return {**kept, "CARGO": str(cargo), "PYTHONDONTWRITEBYTECODE": "1", **more}
