"""A workflow that survives being killed at any moment: an order that is paid, packed and shipped, or undone.

Run it: python examples/order_saga.py. Kill it with kill -9 wherever you like, and run it again: it goes on.
What its steps did stands in ledger.txt.
"""

import asyncio
from pathlib import Path

from buquet import Buquet, WorkflowFailedError
from buquet.workflow import WorkflowContext

app = Buquet()  # BUQUET_URL says where the queue is; without it, .buquet/buquet.db


def write(entry: str) -> None:
    """Note an effect, once: a step that is run again after a crash finds its entry, as with an idempotency key."""
    ledger = Path("ledger.txt")
    if not ledger.exists() or entry not in ledger.read_text().splitlines():
        with ledger.open("a") as file:
            file.write(f"{entry}\n")


def charge(order: str, cents: int) -> str:
    """Take the money."""
    write(f"charged {order} {cents}")
    return f"receipt {order}"


def refund(receipt: str) -> None:
    """Give it back."""
    write(f"refunded {receipt}")


async def pack(order: str, item: str) -> str:
    """Pack one item."""
    await asyncio.sleep(0.05)
    if item == "unicorn":
        raise LookupError(f"there is no {item}")
    write(f"packed {order} {item}")
    return item


def ship(order: str, items: list[str]) -> str:
    """Send it."""
    write(f"shipped {order}")
    return f"{order}: {', '.join(items)}"


@app.workflow
async def fulfil(ctx: WorkflowContext, order: str, items: list[str]) -> str:
    """Handle one order."""
    receipt = await ctx.step(charge, order, 100 * len(items), compensate=refund)
    ctx.publish("receipt", receipt)
    packed = await asyncio.gather(*(ctx.step(pack, order, item, retries=1, backoff="50ms") for item in items))
    await ctx.sleep("200ms")  # the van comes once a day
    return await ctx.step(ship, order, list(packed))


def main() -> None:
    """Start two orders, or find them, and wait for both."""
    with app.worker():
        good = fulfil.start("o-1", ["cup", "plate", "spoon"], id="order-o-1")
        bad = fulfil.start("o-2", ["cup", "unicorn"], id="order-o-2")
        print(good.result(timeout="3m"))
        try:
            bad.result(timeout="3m")
        except WorkflowFailedError as error:
            print(error)


if __name__ == "__main__":
    main()
