"""The other Pythons of this machine that buquet is for, as JSON: one path for each minor version from 3.11 up.

python -m tools.pythons
"""

from __future__ import annotations

import json
import sys

from tests.support.servers import find_python

OLDEST, NEWEST = 11, 20


def others() -> dict[str, str]:
    """Return their paths by version, without that of this one."""
    versions = [f"3.{minor}" for minor in range(OLDEST, NEWEST) if minor != sys.version_info[1]]
    return {version: path for version in versions if (path := find_python(version)) is not None}


if __name__ == "__main__":
    json.dump(others(), sys.stdout)
