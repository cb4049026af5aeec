"""For the tests of your own code: whether it still fits the runs that are under way.

::

    from buquet.testing import Replayer


    def test_running_orders_go_on() -> None:
        Replayer(order).check("tests/journals")
"""

from buquet.testing._replayer import Difference, Replayer, ReplayError

__all__ = ["Difference", "ReplayError", "Replayer"]
