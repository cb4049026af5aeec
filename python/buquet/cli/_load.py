"""Finding the app that ``MODULE:APP`` names."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from buquet._app import Buquet
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from types import ModuleType

    from buquet.workflow import WorkflowFunction


def load_app(target: str) -> Buquet:
    """Import ``MODULE:APP``; without ``:APP`` the module's only app is meant.

    :raises InvalidError: there is no such module, it fails, or it holds no such app.
    """
    name, _, attribute = target.partition(":")
    module = _load_module(name)
    if not attribute:
        return _only_app(module)
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, Buquet):
        known = ", ".join(_apps(module)) or "none"
        raise InvalidError(f"{attribute!r} in {name!r} is no Buquet app; apps there: {known}")
    return found


def load_workflows(target: str) -> list[WorkflowFunction[..., Any]]:
    """Import the workflows of the app ``MODULE:APP``, or all that ``MODULE`` holds.

    :raises InvalidError: there are none.
    """
    from buquet.workflow import WorkflowFunction  # noqa: PLC0415 - a worker without workflows does not pay for them

    name, _, attribute = target.partition(":")
    found: dict[str, WorkflowFunction[..., Any]] = {}
    if attribute:
        found = load_app(target).workflows
    else:
        module = _load_module(name)
        for app in _apps(module).values():
            found |= app.workflows
        for value in vars(module).values():
            if isinstance(value, WorkflowFunction):
                workflow = cast("WorkflowFunction[..., Any]", value)
                found[workflow.name] = workflow
    if not found:
        raise InvalidError(f"there is no workflow in {target!r}")
    return list(found.values())


def _load_module(name: str) -> ModuleType:
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise InvalidError(f"{name!r} is no module name; for tasks.py write tasks:app")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise InvalidError(f"there is no module {name!r} in {Path.cwd()} or on the path") from error
        raise InvalidError(f"importing {name!r} failed: {error}") from error
    except SystemExit as error:
        raise InvalidError(
            f"importing {name!r} failed: it ends the program ({_exit(error)}); what is not to run on import belongs "
            'under `if __name__ == "__main__":`'
        ) from error
    except Exception as error:
        raise InvalidError(f"importing {name!r} failed:\n{traceback.format_exc()}") from error


def _exit(error: SystemExit) -> str:
    return f"SystemExit: {error.code!r}" if error.code is not None else "SystemExit"


def _only_app(module: ModuleType) -> Buquet:
    apps = _apps(module)
    if len(apps) != 1:
        known = ", ".join(apps) or "none"
        raise InvalidError(f"say which app of {module.__name__!r}: {module.__name__}:APP (there: {known})")
    return next(iter(apps.values()))


def _apps(module: ModuleType) -> dict[str, Buquet]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Buquet)}
