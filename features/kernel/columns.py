"""The columns of a feature row, in order, and how many earlier rows each needs.

The kernel writes by position: ``START`` gives the first position of each group. ``features.catalogue`` says what every
column means. A close-only series defines the columns of ``CLOSE_COLUMNS``; bid and ask bars define all.
"""

from typing import Final

import numpy as np

HORIZONS: Final = (1, 2, 3, 5, 10, 21, 63, 126, 252)
STRENGTH_HORIZONS: Final = (1, 5, 21)

# (group, ((column, earlier rows of the instrument needed), …)). An average of half-life h is given out after 3 h rows,
# when its first observation weighs an eighth.
_CLOSE_GROUPS: Final[tuple[tuple[str, tuple[tuple[str, int], ...]], ...]] = (
    ("returns", tuple((f"return_{horizon}", horizon) for horizon in HORIZONS)),
    ("volatility", (("volatility_5", 15), ("volatility_21", 63), ("volatility_63", 189))),
    ("volatility_ratio", (("volatility_ratio_5_21", 63), ("volatility_ratio_21_63", 189))),
    ("volatility_of_volatility", (("volatility_of_volatility_21", 78),)),
    ("normalised", (("shock", 64), ("normalised_return_5", 63), ("normalised_return_21", 63))),
    ("momentum", (("momentum_8_24", 63), ("momentum_16_48", 96), ("momentum_32_96", 192))),
    ("score", (("zscore_21", 63), ("zscore_63", 189))),
    ("relative_strength", (("relative_strength_index_14", 42),)),
    ("efficiency", (("efficiency_ratio_10", 10), ("efficiency_ratio_63", 63))),
    ("range", (("range_position_21", 20), ("range_position_63", 62), ("range_position_252", 251))),
    ("drawdown", (("drawdown_63", 62), ("drawdown_252", 251))),
    ("autocorrelation", (("autocorrelation_63", 190),)),
    ("variance_ratio", (("variance_ratio_5", 194),)),
    ("moments", (("skewness_63", 189), ("kurtosis_63", 189), ("downside_share_63", 189), ("bipower_share_63", 190))),
    (
        "strength",
        tuple(
            (column.format(horizon), horizon)
            for horizon in STRENGTH_HORIZONS
            for column in ("base_strength_{}", "quote_strength_{}", "strength_difference_{}")
        ),
    ),
    ("dispersion", tuple((f"currency_dispersion_{horizon}", horizon) for horizon in STRENGTH_HORIZONS)),
    ("calendar", (("day_of_week", 0), ("days_to_month_end", 0))),
    ("gap", (("gap_hours", 1),)),
)

_BAR_GROUPS: Final[tuple[tuple[str, tuple[tuple[str, int], ...]], ...]] = (
    ("range_volatility", (("parkinson_21", 62), ("garman_klass_21", 62), ("rogers_satchell_21", 62))),
    ("range_volatility_ratio", (("parkinson_ratio_21", 63),)),
    ("true_range", (("average_true_range_14", 42), ("true_range_ratio_14", 43))),
    ("shape", (("close_location", 0), ("body_share", 0), ("opening_gap", 1))),
    ("spread", (("spread_relative", 0), ("spread_zscore_63", 188), ("spread_volatility_ratio_21", 63))),
    ("ticks", (("tick_activity_63", 189), ("tick_zscore_63", 188))),
    ("hours", (("hour_sine", 0), ("hour_cosine", 0), ("minutes_to_weekend", 0))),
    ("sessions", (("session_tokyo", 0), ("session_london", 0), ("session_new_york", 0))),
)


def _names(groups: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]) -> tuple[str, ...]:
    return tuple(name for _, columns in groups for name, _ in columns)


CLOSE_COLUMNS: Final = _names(_CLOSE_GROUPS)
BAR_COLUMNS: Final = _names(_BAR_GROUPS)
COLUMNS: Final = CLOSE_COLUMNS + BAR_COLUMNS
WARM_UP: Final = np.array([rows for _, columns in _CLOSE_GROUPS + _BAR_GROUPS for _, rows in columns], dtype=np.int64)
LONGEST_WARM_UP: Final = int(WARM_UP.max())


def _starts() -> dict[str, int]:
    starts: dict[str, int] = {}
    position = 0
    for group, columns in _CLOSE_GROUPS + _BAR_GROUPS:
        starts[group] = position
        position += len(columns)
    return starts


START: Final = _starts()
CLOSE_COUNT: Final = len(CLOSE_COLUMNS)
COUNT: Final = len(COLUMNS)
