"""What the examples in docstrings use."""

from __future__ import annotations

from buquet.workflow import WorkflowContext, workflow


def charge(order_id: str) -> str:
    return f"receipt of {order_id}"


def charge_in_euros(order_id: str) -> str:
    return f"receipt in euros of {order_id}"


def refund(receipt: str) -> None:
    del receipt


def state_of(order_id: str) -> str:
    del order_id
    return "paid"


def ask_for_signature(order_id: str, token: str) -> None:
    del order_id, token


@workflow
async def order(ctx: WorkflowContext, order_id: str) -> str:
    return await ctx.step(charge, order_id)
