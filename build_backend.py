"""The build backend: hatchling's, with three things more.

- What is missing (a newer Python, a cargo) is said in one sentence, before anything is installed or compiled.
- Pip gets the metadata without compiling. Hatchling offers pip no hook for it, since a build hook may add
  dependencies, and pip then builds the whole wheel to read it. Ours adds none.
- The setting `features`, as in `pip install . -C features=sso`, stands for BUQUET_FEATURES.
"""

import os
import sys
from pathlib import Path
from typing import Any

import cargo_build  # before hatchling, which is not there where Python is too old

os.environ.pop("PIP_BUILD_TRACKER", None)  # by it hatchling knows pip, while it is imported

from hatchling import build as hatchling
from hatchling.build import build_sdist, get_requires_for_build_sdist

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = dict[str, Any] | None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """Return what else has to be installed for a wheel; what pip asks first."""
    begin(config_settings)
    return hatchling.get_requires_for_build_wheel(config_settings)


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """Return what else has to be installed for an editable wheel."""
    begin(config_settings)
    return hatchling.get_requires_for_build_editable(config_settings)


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings = None) -> str:
    """Write the metadata of a wheel; nothing is compiled."""
    begin(config_settings)
    return hatchling.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: Settings = None) -> str:
    """Write the metadata of an editable wheel; nothing is compiled."""
    begin(config_settings)
    return hatchling.prepare_metadata_for_build_editable(metadata_directory, config_settings)


def build_wheel(wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None) -> str:
    """Build a wheel."""
    begin(config_settings)
    return hatchling.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """Build an editable wheel."""
    begin(config_settings)
    return hatchling.build_editable(wheel_directory, config_settings, metadata_directory)


def begin(config_settings: Settings) -> None:
    """Take over the settings, and end with one sentence where the library cannot be built."""
    asked = (config_settings or {}).get("features")
    if asked is not None:
        os.environ["BUQUET_FEATURES"] = asked if isinstance(asked, str) else ",".join(asked)
    try:
        cargo_build.check(Path.cwd())
    except cargo_build.BuildError as error:
        sys.exit(f"buquet: {error}")  # without a traceback, among which pip would show it
