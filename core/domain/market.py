"""Market data as the loop and the catalog see it. Times are UTC nanoseconds; prices are floats in quote currency.

Money is computed in ``Decimal`` (see ``order`` and ``account``); market data stays in floats because the feature
kernel is compiled over them and every broker price has at most six significant decimals.
"""

from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter

import msgspec
import numpy as np
from numpy.typing import NDArray


class BarKind(StrEnum):
    """How a bar came about. A fixing is one price: no open, high or low is ever made of it (law 8)."""

    BAR = "bar"
    FIXING = "fixing"


class Quote(msgspec.Struct, frozen=True):
    """Best bid and ask of one instrument at one moment."""

    instrument: str
    time_ns: int  # when the source says it happened
    arrival_ns: int  # when this process (or the recording) received it
    bid: float
    ask: float
    tradeable: bool = True
    simulated: bool = False


class Heartbeat(msgspec.Struct, frozen=True):
    """The stream is alive and its time is ``time_ns``."""

    time_ns: int
    arrival_ns: int


class Bar(msgspec.Struct, frozen=True):
    """Bid and ask OHLC over ``[open_time_ns, close_time_ns)``; NaN where the source has no such price.

    A fixing carries its one price in ``bid_close`` and ``ask_close``, NaN elsewhere, and
    ``open_time_ns == close_time_ns``.
    """

    instrument: str
    open_time_ns: int
    close_time_ns: int
    bid_open: float
    bid_high: float
    bid_low: float
    bid_close: float
    ask_open: float
    ask_high: float
    ask_low: float
    ask_close: float
    tick_volume: float
    arrival_ns: int
    kind: BarKind = BarKind.BAR
    simulated: bool = False


# The columns of one feature kernel input row, in this order, float64.
INPUT_COLUMNS: tuple[str, ...] = (
    "bid_open",
    "bid_high",
    "bid_low",
    "bid_close",
    "ask_open",
    "ask_high",
    "ask_low",
    "ask_close",
    "tick_volume",
)

_input_row = attrgetter(*INPUT_COLUMNS)


def input_row(bar: Bar) -> tuple[float, ...]:
    """Return the kernel input of a bar in the order of ``INPUT_COLUMNS``."""
    return _input_row(bar)


@dataclass(frozen=True)
class Panel:
    """Bars of several instruments on one time axis, the input of the batch feature driver.

    Attributes:
        instruments: names, N of them, sorted; the position is the kernel's instrument index.
        time_ns: int64 [T], strictly increasing bar close (decision) times.
        arrival_ns: int64 [T, N], when each bar became known; 0 where there is no bar.
        values: float64 [T, N, 9], columns as in ``INPUT_COLUMNS``; all NaN where an instrument has no bar.
        kind: what one row is.
    """

    instruments: tuple[str, ...]
    time_ns: NDArray[np.int64]
    arrival_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    kind: BarKind

    def __post_init__(self) -> None:
        shape = (len(self.time_ns), len(self.instruments), len(INPUT_COLUMNS))
        if self.values.shape != shape or self.arrival_ns.shape != shape[:2]:
            raise ValueError(f"panel of shape {self.values.shape}, expected {shape}")

    def between(self, start_ns: int, end_ns: int) -> "Panel":
        """Return the rows with ``start_ns <= time < end_ns``."""
        low, high = np.searchsorted(self.time_ns, [start_ns, end_ns])
        part = slice(int(low), int(high))
        return Panel(self.instruments, self.time_ns[part], self.arrival_ns[part], self.values[part], self.kind)


def mid_price(bid: float, ask: float, precision: int) -> float:
    """Return the middle of two quoted prices as the double nearest to the exact decimal middle.

    Prices are whole points of ``10**-precision``; summing points keeps the result the same double that parsing the
    decimal text gives, so that a live middle equals a stored fixing bit for bit.
    """
    scale = 10.0**precision
    return (round(bid * scale) + round(ask * scale)) / (2.0 * scale)
