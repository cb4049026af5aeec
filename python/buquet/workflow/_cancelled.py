"""What a plain ``def`` body gets when its run is cancelled."""

from __future__ import annotations

import asyncio


class RunCancelledError(asyncio.CancelledError):
    """The run is to be cancelled: raised once in a plain ``def`` body, where it waits. An async body gets its base.

    It is no ``Exception``, so that ``except Exception`` lets it pass. The body may clean up, also by steps, and then
    lets it pass too; a body that returns has completed.

    Example::

        @workflow
        def order(ctx: SyncWorkflowContext, order_id: str) -> None:
            try:
                ctx.sleep("3d")
            except RunCancelledError:
                ctx.step(refund, order_id)
                raise
    """
