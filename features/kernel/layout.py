"""The fixed-size state of one instrument: float64 slots and int64 counters, by position.

Everything starts as NaN (floats) or 0 (counters). A NaN slot means "no observation yet": recursions start from their
first value, and windows that reach before the first row give NaN without a branch.
"""

from typing import Final

RING: Final = 256  # log prices of the last 256 rows; the longest horizon is 252
RING_MASK: Final = RING - 1

# int64 counters
ROWS: Final = 0  # rows seen
LAST_TIME: Final = 1  # time of the last row, nanoseconds
BLOCK_10: Final = 2  # position inside the current block of each exact window
BLOCK_21: Final = 3
BLOCK_63: Final = 4
BLOCK_252: Final = 5
COUNTERS: Final = 6

# float64 slots: exponential averages first, then exact windows, then the ring of log prices
_SCALARS: Final = (
    "square_5",
    "square_21",
    "square_63",
    "volatility_21",
    "volatility_mean",
    "volatility_variance",
    "average_8",
    "average_16",
    "average_24",
    "average_32",
    "average_48",
    "average_96",
    "score_mean_21",
    "score_variance_21",
    "score_mean_63",
    "score_variance_63",
    "move_14",
    "path_14",
    "return_1",
    "lagged_product",
    "square_of_5",
    "cube",
    "fourth",
    "downside",
    "bipower",
    "path_prefix_10",
    "path_prefix_63",
    "high_21",
    "low_21",
    "high_63",
    "low_63",
    "high_252",
    "low_252",
    "parkinson",
    "garman_klass",
    "rogers_satchell",
    "true_range",
    "spread_mean",
    "spread_variance",
    "tick_mean",
    "tick_variance",
)
SLOT: Final = {name: position for position, name in enumerate(_SCALARS)}

_WINDOWS: Final = (
    ("path_10", 10),
    ("path_63", 63),
    ("highs_21", 21),
    ("lows_21", 21),
    ("highs_63", 63),
    ("lows_63", 63),
    ("highs_252", 252),
    ("lows_252", 252),
)


def _window_starts() -> tuple[dict[str, int], int]:
    starts: dict[str, int] = {}
    position = -(-len(_SCALARS) // 8) * 8  # start the arrays on a cache line
    for name, width in _WINDOWS:
        starts[name] = position
        position += width
    return starts, -(-position // 8) * 8


SUFFIX, PRICES = _window_starts()
SLOTS: Final = PRICES + RING
