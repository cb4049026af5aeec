"""Options, the context, batches, hooks and a CPU-bound task in a process.

Run it: python examples/options.py
"""

from datetime import timedelta
from decimal import Decimal

from buquet import Buquet, TaskContext, TaskStatus

app = Buquet()


@app.task(pool="process", timeout="1m", no_retry_on=ValueError)
def factorial_digits(n: int) -> int:
    """Count the digits of n!: work for a process, since it would hold up all threads."""
    result = 1
    for factor in range(2, n + 1):
        result *= factor
    return len(str(result))


@app.task(timeout=timedelta(seconds=5))
def add_up(ctx: TaskContext, amounts: list[Decimal]) -> Decimal:
    """Add amounts up, asking for more time on the way."""
    ctx.extend_sync("30s")
    return sum(amounts, Decimal(0))


@app.on_error
def report(ctx: TaskContext, error: BaseException) -> None:
    """Show each failed attempt; a real program would send it to its error tracker."""
    print(f"attempt {ctx.attempt} of {ctx.type} failed: {error}")


def main() -> None:
    """Submit with options and wait."""
    later = add_up.options(delay="200ms", priority=9).submit([Decimal("0.10"), Decimal("0.20")])
    print("before its time:", later.status())
    with app.worker(concurrency=4, processes=2):
        print("sum:", later.result(timeout="1m"))
        print("digits:", factorial_digits.map([10, 100, 500]).results(timeout="1m"))
    print("history:", [str(event.task.status) for event in later.history().events])
    print("done:", later.status() is TaskStatus.COMPLETED)


if __name__ == "__main__":
    main()
