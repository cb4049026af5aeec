"""The plain level: type names and JSON, no decorated app. Producers and workers may be in different languages.

Run it: python examples/plain_queue.py
"""

import asyncio
from dataclasses import dataclass

from buquet import TaskContext, Worker, connect


@dataclass
class Email:
    """The input that the worker expects."""

    to: str
    subject: str = "Hello"


async def main() -> None:
    """Submit some tasks, work them, and look at what is stored."""
    async with connect() as queue:
        worker = Worker(queue, concurrency=20)

        @worker.task("send_email")
        async def send_email(email: Email, ctx: TaskContext) -> str:
            ctx.logger.debug("sending")
            return f"{email.subject} -> {email.to}"

        one = await queue.submit("send_email", {"to": "ada@example.org"}, max_retries=5, priority=9)
        many = await queue.submit_many("send_email", [Email(f"user{n}@example.org", "News") for n in range(3)])
        async with worker:
            print(await one)
            for line in await many:
                print(line)

        task = await queue.get(one)
        print(task.type, task.status, "after", task.attempt, "attempt")
        usage = await queue.usage()
        print(f"{usage.requests.put} PUTs and {usage.requests.get} GETs")


if __name__ == "__main__":
    asyncio.run(main())
