"""Features of one instrument's bid and ask bars: ranges, spread, ticks. Formulas: ``features.catalogue``."""

import math

from features.kernel.averages import average, ratio, weight
from features.kernel.columns import START
from features.kernel.compilation import Floats, compiled
from features.kernel.layout import SLOT

VOLATILITY = START["volatility"]
RANGE_VOLATILITY = START["range_volatility"]
RANGE_VOLATILITY_RATIO = START["range_volatility_ratio"]
TRUE_RANGE = START["true_range"]
SHAPE = START["shape"]
SPREAD = START["spread"]
TICKS = START["ticks"]

PARKINSON, GARMAN_KLASS, ROGERS_SATCHELL = SLOT["parkinson"], SLOT["garman_klass"], SLOT["rogers_satchell"]
AVERAGE_TRUE_RANGE = SLOT["true_range"]
SPREAD_MEAN, SPREAD_VARIANCE = SLOT["spread_mean"], SLOT["spread_variance"]
TICK_MEAN, TICK_VARIANCE = SLOT["tick_mean"], SLOT["tick_variance"]

WEIGHT_21, WEIGHT_63 = weight(21.0), weight(63.0)
WILDER_14 = 1.0 / 14.0
PER_FOUR_LOG_2 = 1.0 / (4.0 * math.log(2.0))
TWO_LOG_2_LESS_1 = 2.0 * math.log(2.0) - 1.0


@compiled
def bar_features(state: Floats, row: Floats, price: float, previous: float, out: Floats) -> None:
    """Take in one bar and write the features of ``BAR_COLUMNS`` that need one instrument only.

    Opening, high and low are middles of bid and ask. Where one of them is missing, or they contradict each other, the
    averages of ranges stay as they are and the features that need this bar's range are NaN.

    Args:
        state: float64 [SLOTS] of the instrument, changed in place; ``price_features`` has run on it.
        row: float64 [9], columns as in ``core.domain.INPUT_COLUMNS``.
        price, previous: closing log price of this and of the row before (NaN on the first).
        out: float64 [F], the instrument's feature row.
    """
    missing = float("nan")
    opening = 0.5 * (row[0] + row[4])
    high = 0.5 * (row[1] + row[5])
    low = 0.5 * (row[2] + row[6])
    close = 0.5 * (row[3] + row[7])
    volatility_21 = out[VOLATILITY + 1]

    if 0.0 < low <= opening <= high and low <= close <= high < math.inf:
        log_open, log_high, log_low = math.log(opening), math.log(high), math.log(low)
        span = log_high - log_low
        body = price - log_open
        parkinson = average(state[PARKINSON], span * span * PER_FOUR_LOG_2, WEIGHT_21)
        garman_klass = average(state[GARMAN_KLASS], 0.5 * span * span - TWO_LOG_2_LESS_1 * body * body, WEIGHT_21)
        rogers_satchell = average(
            state[ROGERS_SATCHELL],
            (log_high - price) * (log_high - log_open) + (log_low - price) * (log_low - log_open),
            WEIGHT_21,
        )
        state[PARKINSON] = parkinson
        state[GARMAN_KLASS] = garman_klass
        state[ROGERS_SATCHELL] = rogers_satchell
        top = previous if previous > log_high else log_high
        bottom = previous if previous < log_low else log_low
        true_range = top - bottom
        before = state[AVERAGE_TRUE_RANGE]
        after = average(before, true_range, WILDER_14)
        state[AVERAGE_TRUE_RANGE] = after
        volatility = math.sqrt(parkinson)
        out[RANGE_VOLATILITY] = volatility
        out[RANGE_VOLATILITY + 1] = math.sqrt(garman_klass)
        out[RANGE_VOLATILITY + 2] = math.sqrt(rogers_satchell) if rogers_satchell > 0.0 else 0.0
        out[RANGE_VOLATILITY_RATIO] = ratio(volatility, volatility_21)
        out[TRUE_RANGE] = after
        out[TRUE_RANGE + 1] = ratio(true_range, before)
        per_span = ratio(1.0, span)
        out[SHAPE] = (price - log_low) * per_span
        out[SHAPE + 1] = body * per_span
        out[SHAPE + 2] = log_open - previous
    else:
        out[RANGE_VOLATILITY] = missing
        out[RANGE_VOLATILITY + 1] = missing
        out[RANGE_VOLATILITY + 2] = missing
        out[RANGE_VOLATILITY_RATIO] = missing
        out[TRUE_RANGE] = missing
        out[TRUE_RANGE + 1] = missing
        out[SHAPE] = missing
        out[SHAPE + 1] = missing
        out[SHAPE + 2] = missing

    spread = (row[7] - row[3]) / close
    difference = spread - state[SPREAD_MEAN]
    variance = state[SPREAD_VARIANCE]
    variance = (1.0 - WEIGHT_63) * (variance + WEIGHT_63 * difference * difference) if variance == variance else 0.0
    mean = average(state[SPREAD_MEAN], spread, WEIGHT_63)
    state[SPREAD_MEAN] = mean
    state[SPREAD_VARIANCE] = variance
    out[SPREAD] = spread
    out[SPREAD + 1] = ratio(spread - mean, math.sqrt(variance))
    out[SPREAD + 2] = ratio(spread, volatility_21)

    ticks = row[8]
    if ticks >= 0.0:
        mean = state[TICK_MEAN]
        out[TICKS] = ratio(ticks, mean)
        difference = ticks - mean
        variance = state[TICK_VARIANCE]
        variance = (1.0 - WEIGHT_63) * (variance + WEIGHT_63 * difference * difference) if variance == variance else 0.0
        mean = average(mean, ticks, WEIGHT_63)
        state[TICK_MEAN] = mean
        state[TICK_VARIANCE] = variance
        out[TICKS + 1] = ratio(ticks - mean, math.sqrt(variance))
    else:
        out[TICKS] = missing
        out[TICKS + 1] = missing
