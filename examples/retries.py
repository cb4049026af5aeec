"""Async tasks that fail and come back: retries with back-off, a retry of its own timing, and failing for good.

Run it: python examples/retries.py
"""

import asyncio

from buquet import Buquet, PermanentError, RetryableError, RetryPolicy, TaskContext, TaskFailedError

app = Buquet()


@app.task(retries=4, backoff=RetryPolicy(initial="100ms", max="1s", jitter=0))
async def flaky(ctx: TaskContext, succeeds_at: int) -> str:
    """Fail until the given attempt."""
    if ctx.attempt < succeeds_at:
        raise ConnectionError(f"attempt {ctx.attempt} met a broken connection")
    return f"attempt {ctx.attempt} went through"


@app.task
async def busy(ctx: TaskContext) -> str:
    """Ask for a retry after a delay of the handler's choice."""
    if ctx.attempt == 1:
        raise RetryableError("the other side asked for half a second", delay=0.5)
    return "served"


@app.task(retries=10)
async def find_order(number: int) -> str:
    """Fail at once where no retry would help."""
    raise PermanentError(f"there is no order {number}")


async def main() -> None:
    """Submit all three and show how they end."""
    async with app, app.worker(concurrency=5):
        first, second, third = (
            await flaky.submit_async(succeeds_at=3),
            await busy.submit_async(),
            await find_order.submit_async(4711),
        )
        print("flaky:", await first)
        print("busy:", await second)
        try:
            await third
        except TaskFailedError as error:
            print("find_order:", error.task.status, "-", error.task.error and error.task.error.message)


if __name__ == "__main__":
    asyncio.run(main())
