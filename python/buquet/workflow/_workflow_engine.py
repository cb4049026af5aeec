"""The plain level's worker for workflows."""

from __future__ import annotations

from buquet._worker import Worker


class WorkflowEngine(Worker):
    """A worker that drives runs: ``register`` workflows, and ``run`` it. It takes tasks too, as every ``Worker``.

    Example::

        engine = WorkflowEngine(queue)
        engine.register(order)

        async with engine:
            run = await WorkflowClient(queue).start(order, "o-17")
            print(await run)
    """
