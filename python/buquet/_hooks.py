"""Functions that a worker calls around its work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from buquet._identity import is_twin
from buquet.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Callable

    from buquet._context import TaskContext

# What a hook returns is ignored, unless it is awaitable.
LifeHook = TypeVar("LifeHook", bound="Callable[[], object]")
SuccessHook = TypeVar("SuccessHook", bound="Callable[[TaskContext, Any], object]")
ErrorHook = TypeVar("ErrorHook", bound="Callable[[TaskContext, BaseException], object]")
AnyHook = TypeVar("AnyHook", bound="Callable[..., object]")


class HookRegistry:
    """The four hooks, registered by decorator. Each may be ``def`` (run on a thread) or ``async def``."""

    def __init__(self) -> None:
        """Start without hooks."""
        self.hooks: dict[str, list[Callable[..., Any]]] = {
            "startup": [],
            "shutdown": [],
            "success": [],
            "error": [],
        }

    def on_startup(self, hook: LifeHook) -> LifeHook:
        """Call ``hook()`` before the first task. What it raises stops the worker."""
        return self._register("startup", hook)

    def on_shutdown(self, hook: LifeHook) -> LifeHook:
        """Call ``hook()`` after the last task, when the leases are given back."""
        return self._register("shutdown", hook)

    def on_success(self, hook: SuccessHook) -> SuccessHook:
        """Call ``hook(context, result)`` once a result is stored."""
        return self._register("success", hook)

    def on_error(self, hook: ErrorHook) -> ErrorHook:
        """Call ``hook(context, error)`` once a failed attempt is stored, retried or not."""
        return self._register("error", hook)

    def add_hooks(self, other: HookRegistry) -> None:
        """Add all hooks of another registry."""
        for name, hooks in other.hooks.items():
            self.hooks[name].extend(hooks)

    def _register(self, name: str, hook: AnyHook) -> AnyHook:
        if not callable(hook):
            raise InvalidError(f"on_{name} takes a function, not {hook!r}")
        # A module that is imported under two names registers its hooks twice, and means them once.
        self.hooks[name] = [known for known in self.hooks[name] if not is_twin(known, hook)]
        self.hooks[name].append(hook)
        return hook
