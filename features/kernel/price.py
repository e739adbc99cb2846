"""Features of one instrument's closing prices. Formulas and sources: ``features.catalogue``."""

import math

from features.kernel.averages import advance_extremes, advance_path, average, ratio, weight
from features.kernel.columns import START
from features.kernel.compilation import Floats, Integers, compiled
from features.kernel.layout import (
    BLOCK_10,
    BLOCK_21,
    BLOCK_63,
    BLOCK_252,
    LAST_TIME,
    PRICES,
    RING_MASK,
    ROWS,
    SLOT,
    SUFFIX,
)

RETURNS = START["returns"]
VOLATILITY = START["volatility"]
VOLATILITY_RATIO = START["volatility_ratio"]
VOLATILITY_OF_VOLATILITY = START["volatility_of_volatility"]
NORMALISED = START["normalised"]
MOMENTUM = START["momentum"]
SCORE = START["score"]
RELATIVE_STRENGTH = START["relative_strength"]
EFFICIENCY = START["efficiency"]
RANGE = START["range"]
DRAWDOWN = START["drawdown"]
AUTOCORRELATION = START["autocorrelation"]
VARIANCE_RATIO = START["variance_ratio"]
MOMENTS = START["moments"]
GAP = START["gap"]

SQUARE_5, SQUARE_21, SQUARE_63 = SLOT["square_5"], SLOT["square_21"], SLOT["square_63"]
VOLATILITY_21 = SLOT["volatility_21"]
VOLATILITY_MEAN, VOLATILITY_VARIANCE = SLOT["volatility_mean"], SLOT["volatility_variance"]
AVERAGE_8, AVERAGE_16, AVERAGE_24 = SLOT["average_8"], SLOT["average_16"], SLOT["average_24"]
AVERAGE_32, AVERAGE_48, AVERAGE_96 = SLOT["average_32"], SLOT["average_48"], SLOT["average_96"]
SCORE_MEAN_21, SCORE_VARIANCE_21 = SLOT["score_mean_21"], SLOT["score_variance_21"]
SCORE_MEAN_63, SCORE_VARIANCE_63 = SLOT["score_mean_63"], SLOT["score_variance_63"]
MOVE_14, PATH_14, RETURN_1 = SLOT["move_14"], SLOT["path_14"], SLOT["return_1"]
LAGGED_PRODUCT, SQUARE_OF_5, BIPOWER = SLOT["lagged_product"], SLOT["square_of_5"], SLOT["bipower"]
CUBE, FOURTH, DOWNSIDE = SLOT["cube"], SLOT["fourth"], SLOT["downside"]
PATH_PREFIX_10, PATH_PREFIX_63 = SLOT["path_prefix_10"], SLOT["path_prefix_63"]
HIGH_21, LOW_21 = SLOT["high_21"], SLOT["low_21"]
HIGH_63, LOW_63 = SLOT["high_63"], SLOT["low_63"]
HIGH_252, LOW_252 = SLOT["high_252"], SLOT["low_252"]
PATHS_10, PATHS_63 = SUFFIX["path_10"], SUFFIX["path_63"]
HIGHS_21, LOWS_21 = SUFFIX["highs_21"], SUFFIX["lows_21"]
HIGHS_63, LOWS_63 = SUFFIX["highs_63"], SUFFIX["lows_63"]
HIGHS_252, LOWS_252 = SUFFIX["highs_252"], SUFFIX["lows_252"]

WEIGHT_5, WEIGHT_21, WEIGHT_63 = weight(5.0), weight(21.0), weight(63.0)
WILDER_14 = 1.0 / 14.0
PER_ROOT_5, PER_ROOT_21 = 1.0 / math.sqrt(5.0), 1.0 / math.sqrt(21.0)
HALF_PI = math.pi / 2.0
HOURS_PER_NANOSECOND = 1.0 / 3_600e9


@compiled
def price_features(state: Floats, counters: Integers, time_ns: int, price: float, out: Floats) -> None:
    """Take in one closing log price and write the features of ``CLOSE_COLUMNS`` that need one instrument only.

    Args:
        state: float64 [SLOTS] of the instrument, changed in place.
        counters: int64 [COUNTERS] of the instrument, changed in place.
        time_ns: the row's time.
        price: natural logarithm of the closing mid price.
        out: float64 [F], the instrument's feature row.
    """
    rows = counters[ROWS]
    state[PRICES + (rows & RING_MASK)] = price

    # Returns. Before the first row the ring is NaN, and so is a horizon that reaches there.
    move = price - state[PRICES + ((rows - 1) & RING_MASK)]
    move_5 = price - state[PRICES + ((rows - 5) & RING_MASK)]
    move_21 = price - state[PRICES + ((rows - 21) & RING_MASK)]
    move_63 = price - state[PRICES + ((rows - 63) & RING_MASK)]
    move_10 = price - state[PRICES + ((rows - 10) & RING_MASK)]
    out[RETURNS] = move
    out[RETURNS + 1] = price - state[PRICES + ((rows - 2) & RING_MASK)]
    out[RETURNS + 2] = price - state[PRICES + ((rows - 3) & RING_MASK)]
    out[RETURNS + 3] = move_5
    out[RETURNS + 4] = move_10
    out[RETURNS + 5] = move_21
    out[RETURNS + 6] = move_63
    out[RETURNS + 7] = price - state[PRICES + ((rows - 126) & RING_MASK)]
    out[RETURNS + 8] = price - state[PRICES + ((rows - 252) & RING_MASK)]

    # Volatility
    square = move * move
    square_5 = average(state[SQUARE_5], square, WEIGHT_5)
    square_21 = average(state[SQUARE_21], square, WEIGHT_21)
    square_63 = average(state[SQUARE_63], square, WEIGHT_63)
    state[SQUARE_5] = square_5
    state[SQUARE_21] = square_21
    state[SQUARE_63] = square_63
    volatility_5 = math.sqrt(square_5)
    volatility_21 = math.sqrt(square_21)
    volatility_63 = math.sqrt(square_63)
    per_volatility_21 = ratio(1.0, volatility_21)
    per_volatility_63 = ratio(1.0, volatility_63)
    per_square_63 = per_volatility_63 * per_volatility_63
    out[VOLATILITY] = volatility_5
    out[VOLATILITY + 1] = volatility_21
    out[VOLATILITY + 2] = volatility_63
    out[VOLATILITY_RATIO] = volatility_5 * per_volatility_21
    out[VOLATILITY_RATIO + 1] = volatility_21 * per_volatility_63

    mean = average(state[VOLATILITY_MEAN], volatility_5, WEIGHT_21)
    difference = volatility_5 - state[VOLATILITY_MEAN]
    variance = state[VOLATILITY_VARIANCE]
    variance = (1.0 - WEIGHT_21) * (variance + WEIGHT_21 * difference * difference) if variance == variance else 0.0
    state[VOLATILITY_MEAN] = mean
    state[VOLATILITY_VARIANCE] = variance if mean == mean else mean
    out[VOLATILITY_OF_VOLATILITY] = ratio(math.sqrt(variance), mean)

    # Moves in units of volatility; the shock is measured against the volatility known before it.
    out[NORMALISED] = ratio(move, state[VOLATILITY_21])
    state[VOLATILITY_21] = volatility_21
    out[NORMALISED + 1] = move_5 * per_volatility_21 * PER_ROOT_5
    out[NORMALISED + 2] = move_21 * per_volatility_21 * PER_ROOT_21

    # Momentum
    average_8 = average(state[AVERAGE_8], price, 1.0 / 8.0)
    average_16 = average(state[AVERAGE_16], price, 1.0 / 16.0)
    average_24 = average(state[AVERAGE_24], price, 1.0 / 24.0)
    average_32 = average(state[AVERAGE_32], price, 1.0 / 32.0)
    average_48 = average(state[AVERAGE_48], price, 1.0 / 48.0)
    average_96 = average(state[AVERAGE_96], price, 1.0 / 96.0)
    state[AVERAGE_8] = average_8
    state[AVERAGE_16] = average_16
    state[AVERAGE_24] = average_24
    state[AVERAGE_32] = average_32
    state[AVERAGE_48] = average_48
    state[AVERAGE_96] = average_96
    out[MOMENTUM] = (average_8 - average_24) * per_volatility_21
    out[MOMENTUM + 1] = (average_16 - average_48) * per_volatility_21
    out[MOMENTUM + 2] = (average_32 - average_96) * per_volatility_21

    # Distance from the average price, in its own standard deviation
    difference = price - state[SCORE_MEAN_21]
    variance = state[SCORE_VARIANCE_21]
    variance = (1.0 - WEIGHT_21) * (variance + WEIGHT_21 * difference * difference) if variance == variance else 0.0
    mean = average(state[SCORE_MEAN_21], price, WEIGHT_21)
    state[SCORE_MEAN_21] = mean
    state[SCORE_VARIANCE_21] = variance
    out[SCORE] = ratio(price - mean, math.sqrt(variance))
    difference = price - state[SCORE_MEAN_63]
    variance = state[SCORE_VARIANCE_63]
    variance = (1.0 - WEIGHT_63) * (variance + WEIGHT_63 * difference * difference) if variance == variance else 0.0
    mean = average(state[SCORE_MEAN_63], price, WEIGHT_63)
    state[SCORE_MEAN_63] = mean
    state[SCORE_VARIANCE_63] = variance
    out[SCORE + 1] = ratio(price - mean, math.sqrt(variance))

    # Balance of gains and losses, straightness of the path
    distance = abs(move)
    balance = average(state[MOVE_14], move, WILDER_14)
    path = average(state[PATH_14], distance, WILDER_14)
    state[MOVE_14] = balance
    state[PATH_14] = path
    out[RELATIVE_STRENGTH] = ratio(balance, path)
    path_10 = advance_path(state, counters, BLOCK_10, PATH_PREFIX_10, PATHS_10, 10, rows, distance)
    out[EFFICIENCY] = ratio(abs(move_10), path_10)

    # Exact windows of 63 rows share their block position: paths first, extremes move it on.
    block = counters[BLOCK_63]
    path_63 = advance_path(state, counters, BLOCK_63, PATH_PREFIX_63, PATHS_63, 63, rows, distance)
    out[EFFICIENCY + 1] = ratio(abs(move_63), path_63)
    counters[BLOCK_63] = block
    high_63, low_63 = advance_extremes(state, counters, BLOCK_63, HIGH_63, LOW_63, HIGHS_63, LOWS_63, 63, rows, price)
    high_21, low_21 = advance_extremes(state, counters, BLOCK_21, HIGH_21, LOW_21, HIGHS_21, LOWS_21, 21, rows, price)
    high_252, low_252 = advance_extremes(
        state, counters, BLOCK_252, HIGH_252, LOW_252, HIGHS_252, LOWS_252, 252, rows, price
    )
    out[RANGE] = ratio(price - low_21, high_21 - low_21)
    out[RANGE + 1] = ratio(price - low_63, high_63 - low_63)
    out[RANGE + 2] = ratio(price - low_252, high_252 - low_252)
    out[DRAWDOWN] = price - high_63
    out[DRAWDOWN + 1] = price - high_252

    # Dependence and shape of returns
    previous = state[RETURN_1]
    state[RETURN_1] = move
    product = previous * move
    lagged = average(state[LAGGED_PRODUCT], product, WEIGHT_63)
    bipower = average(state[BIPOWER], abs(product), WEIGHT_63)
    square_of_5 = average(state[SQUARE_OF_5], move_5 * move_5, WEIGHT_63)
    cube = average(state[CUBE], square * move, WEIGHT_63)
    fourth = average(state[FOURTH], square * square, WEIGHT_63)
    loss = square if move < 0.0 else (0.0 if move == move else move)
    downside = average(state[DOWNSIDE], loss, WEIGHT_63)
    state[LAGGED_PRODUCT] = lagged
    state[BIPOWER] = bipower
    state[SQUARE_OF_5] = square_of_5
    state[CUBE] = cube
    state[FOURTH] = fourth
    state[DOWNSIDE] = downside
    out[AUTOCORRELATION] = lagged * per_square_63
    out[VARIANCE_RATIO] = square_of_5 * per_square_63 * 0.2
    out[MOMENTS] = cube * per_square_63 * per_volatility_63
    out[MOMENTS + 1] = fourth * per_square_63 * per_square_63
    out[MOMENTS + 2] = downside * per_square_63
    out[MOMENTS + 3] = HALF_PI * bipower * per_square_63

    out[GAP] = (time_ns - counters[LAST_TIME]) * HOURS_PER_NANOSECOND
    counters[LAST_TIME] = time_ns
    counters[ROWS] = rows + 1
