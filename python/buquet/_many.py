"""Operations on very many tasks, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from buquet._client import Call
from buquet._models import check_text

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from buquet._client import Client

T = TypeVar("T", bound="msgspec.Struct")


class Many(Generic[T]):
    """One operation over all its pages. Each answer has a ``cursor`` and the fields of ``total``, which are added up.

    ``total`` and ``cursor`` tell how far it has come, also where it broke off.
    """

    def __init__(
        self, op: str, request: dict[str, Any], step: type[Any], total: T, *, cursor: str | None = None
    ) -> None:
        """Begin where ``cursor`` says.

        :raises InvalidError: it is no text.
        """
        check_text(cursor, "cursor")
        self._op = op
        self._request = request
        self._step = step
        self.cursor = cursor
        self.finished = False
        self.total: T = total

    def call(self) -> Call[Any, Any]:
        """The next page."""
        request = self._request if self.cursor is None else {**self._request, "cursor": self.cursor}
        return Call(self._op, request, self._step, lambda step: step)

    def take(self, step: Any) -> None:
        """Add what a page came to."""
        total = self.total
        counted = [name for name in total.__struct_fields__ if name != "cursor"]
        sums: dict[str, Any] = {name: getattr(total, name) + getattr(step, name) for name in counted}
        if "cursor" in total.__struct_fields__:
            sums["cursor"] = step.cursor
        self.total = type(total)(**sums)
        self.cursor = step.cursor
        self.finished = step.cursor is None

    def run(self, client: Client, progress: Callable[[T], None] | None = None) -> T:
        """Go on to the end; ``progress`` is called with what was done so far after each page."""
        while not self.finished:
            self.take(client.call(self.call()))
            if progress is not None:
                progress(self.total)
        return self.total

    async def run_async(self, client: Client, progress: Callable[[T], None] | None = None) -> T:
        """Go on to the end, for async code."""
        while not self.finished:
            self.take(await client.call_async(self.call()))
            if progress is not None:
                progress(self.total)
        return self.total
