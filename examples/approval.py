"""A workflow that waits for a person, at no cost, and goes on without one when the time is up.

Run it: python examples/approval.py. It may be killed with kill -9 at any moment and run again.
"""

import sys

from buquet import Buquet
from buquet.workflow import SyncWorkflowContext

app = Buquet()  # BUQUET_URL says where the queue is; without it, .buquet/buquet.db


def ask(who: str, what: str) -> None:
    """Send a mail; here it is printed."""
    print(f"mail to {who}: may we {what}?", file=sys.stderr)


def publish(what: str, by: str) -> str:
    """Do what was approved."""
    return f"{what} was published, approved by {by}"


@app.workflow
def release(ctx: SyncWorkflowContext, what: str, patience: str) -> str:
    """Ask, and wait for the answer; a plain function does as well as an async one."""
    ctx.step(ask, "ada@example.org", f"publish {what}")
    first = ctx.select(approved=ctx.signal("approved", str), late=ctx.timer(patience))
    if first.arm == "late":
        return f"nobody answered: {what} stays a draft"
    return ctx.step(publish, what, first.value)


def main() -> None:
    """Ask twice, answer once."""
    with app.worker():
        asked = release.start("the page", "7d", id="release-page")
        forgotten = release.start("the poem", "1s", id="release-poem")
        if not asked.status().is_over:
            asked.signal("approved", "ada", id="the-answer")  # heard once, however often it is sent
        print(asked.result(timeout="3m"))
        print(forgotten.result(timeout="3m"))


if __name__ == "__main__":
    main()
