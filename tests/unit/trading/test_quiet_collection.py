"""Garbage collection of a live session: set up and undone, and only where there is something to collect."""

import gc
import weakref

from trading.collection import QuietCollection


class _Knot:
    def __init__(self) -> None:
        self.itself = self


def test_live_trading_collects_when_told_and_leaves_the_interpreter_as_it_was() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with QuietCollection() as collection:
        assert gc.get_freeze_count() > frozen and gc.get_threshold()[0] > before[0]
        knot = weakref.ref(_Knot())
        collection.rest()
        assert knot() is not None  # too little was made since the last time
        kept = [[number] for number in range(5_000)]
        collection.rest()
        assert knot() is None and len(kept) == 5_000
    assert gc.get_threshold() == before and gc.get_freeze_count() == 0
