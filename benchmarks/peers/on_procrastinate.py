"""Procrastinate on PostgreSQL: one process, async handlers, up to 30 at a time."""

import asyncio
import sys

import harness
from procrastinate import App, PsycopgConnector

CONCURRENCY = 30
CALLERS = 20
app = App(connector=PsycopgConnector(conninfo=harness.PLACE, min_size=1, max_size=CALLERS))
tally = harness.Tally()


@app.task(name="noop")
async def noop(number: int) -> None:  # noqa: ARG001 - every task has one
    """Count."""
    tally.note()


@app.task(name="pick")
async def pick(number: int) -> None:  # noqa: ARG001 - as above
    """Tell that it began."""
    harness.picked()


async def _open() -> None:
    await app.open_async()


class Loop:
    """One event loop and one pool for all that this process submits."""

    runner: asyncio.Runner | None = None

    @classmethod
    def run(cls, coroutine: object) -> None:
        """Run on that loop."""
        if cls.runner is None:
            cls.runner = asyncio.Runner()
            cls.runner.run(_open())
        cls.runner.run(coroutine)


async def _reset() -> None:
    async with app.open_async():
        await app.connector.execute_query_async("DROP SCHEMA public CASCADE")
        await app.connector.execute_query_async("CREATE SCHEMA public")
        await app.schema_manager.apply_schema_async()


def reset() -> None:
    """Make the schema anew."""
    asyncio.run(_reset())


async def _submit(count: int) -> None:
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await noop.defer_async(number=number)

    await asyncio.gather(*(caller() for _ in range(min(CALLERS, count))))


def submit(count: int) -> None:
    """Submit singly, from many callers at a time."""
    Loop.run(_submit(count))


async def _bulk(count: int) -> None:
    await noop.batch_defer_async(*({"number": number} for number in range(count)))


def bulk(count: int) -> None:
    """Submit with one call."""
    Loop.run(_bulk(count))


async def _lone(number: int) -> None:
    await pick.defer_async(number=number)


def lone(number: int) -> None:
    """Submit one to be timed."""
    Loop.run(_lone(number))


async def _work() -> None:
    async with app.open_async():
        await app.run_worker_async(concurrency=CONCURRENCY)


def worker() -> None:
    """Work, woken by LISTEN and NOTIFY as it comes."""
    asyncio.run(_work())


if __name__ == "__main__":
    harness.run(sys.modules[__name__])
