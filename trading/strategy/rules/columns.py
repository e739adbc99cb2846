"""What a rule sees of a bar and what it says."""

from typing import NamedTuple

from core.domain import INPUT_COLUMNS

BID_OPEN, BID_HIGH, BID_LOW, BID_CLOSE, ASK_OPEN, ASK_HIGH, ASK_LOW, ASK_CLOSE = (
    INPUT_COLUMNS.index(f"{side}_{price}") for side in ("bid", "ask") for price in ("open", "high", "low", "close")
)
NAN = float("nan")


class Signal(NamedTuple):
    """What a rule wants after a bar.

    Attributes:
        weight: share of the full size, −1 (short) to 1 (long); 0 is flat, NaN leaves the position as it is.
        stop: distance of the stop-loss from the entry, in price units; 0 for none.
        target: of the take-profit; 0 for none.
        trailing: of the trailing stop; 0 for none.
        offset: of a limit order from the standing price that waits for one bar; 0 enters at the market.
    """

    weight: float
    stop: float
    target: float
    trailing: float
    offset: float


HOLD = Signal(NAN, 0.0, 0.0, 0.0, 0.0)
