"""Garbage is collected between events, never inside a decision.

The interpreter collects whenever enough objects were made, and a full collection walks everything a trader has loaded:
0.1 s and more, in the middle of an order. What stands when trading begins is therefore set aside (``gc.freeze``), the
automatic collection is put so far off that it only backs up this one, and the loop's timer asks for a collection while
nothing is under way.
"""

import gc

_AUTOMATIC = (200_000, 50, 1_000)  # objects made before the interpreter collects by itself all the same
_YOUNG = 2_000  # objects made since the newest collection; fewer are not worth one (0.1 ms)
_ROUNDS = 500  # collections of young objects before everything made since the beginning is looked through


class QuietCollection:
    """Collects when it is told that there is time; a context manager around live trading."""

    def __init__(self) -> None:
        self._before = gc.get_threshold()
        self._rounds = 0

    def __enter__(self) -> "QuietCollection":
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_AUTOMATIC)
        return self

    def __exit__(self, *_: object) -> None:
        gc.set_threshold(*self._before)
        gc.unfreeze()

    def rest(self) -> None:
        """Nothing is under way: collect, if enough was made since the last time."""
        if gc.get_count()[0] < _YOUNG:
            return
        self._rounds += 1
        gc.collect(2 if self._rounds % _ROUNDS == 0 else 1)
