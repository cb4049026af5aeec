"""Operations on very many tasks, whose pages are added up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from buquet import CancelCounts
from buquet._dead_models import Handled
from buquet._many import Many

if TYPE_CHECKING:
    from buquet import Buquet
    from tests.unit.fake_engine import FakeEngine


def answering(engine: FakeEngine, op: str, pages: list[dict[str, Any]]) -> None:
    """Let the engine answer one page after the other."""

    def answer(_request: Any) -> dict[str, Any]:
        return pages.pop(0)

    setattr(engine, f"_op_{op}", answer)


def test_what_cancelled_many_is_added_up_over_all_pages(app: Buquet, engine: FakeEngine) -> None:
    pages = [{"cancelled": 2, "requested": 1, "cursor": "leases/"}, {"cancelled": 1, "requested": 0}]
    answering(engine, "cancel_many", pages)
    assert app.cancel_matching(type="count") == CancelCounts(cancelled=3, requested=1)
    assert [request.get("cursor") for request in engine.requests("cancel_many")] == [None, "leases/"]


def test_a_total_that_has_a_cursor_says_where_to_go_on() -> None:
    many: Many[Handled] = Many("replay_many", {}, Handled, Handled(tasks=0, records=0))
    many.take(Handled(tasks=3, records=1, cursor="failed/x"))
    assert (many.total.tasks, many.total.cursor, many.finished) == (3, "failed/x", False)
    many.take(Handled(tasks=2, records=1))
    assert (many.total.tasks, many.total.cursor, many.finished) == (5, None, True)
