"""Schedules: tasks that are submitted by themselves, at times of day and at intervals.

Run it: python examples/schedules.py
"""

import asyncio

from buquet import Buquet, TaskContext

app = Buquet()
ticked = asyncio.Event()


@app.every("1s", overlap="skip")
async def tick(ctx: TaskContext) -> None:
    """Run every second, on one of however many workers there are."""
    print("a tick is", ctx.id)
    ticked.set()


@app.cron("0 9 * * mon-fri", timezone="Europe/Berlin")
async def report() -> None:
    """Run in the morning of working days, by Berlin's clocks."""
    print("good morning")


async def main() -> None:
    """Wait for the first tick, then look at the schedules and fire one by hand."""
    async with app, app.worker():
        await ticked.wait()
        for schedule in (await app.queue.list_schedules()).schedules:
            print(schedule.name, "fires next at", schedule.next)
        await (await app.queue.trigger_schedule("report"))


if __name__ == "__main__":
    asyncio.run(main())
