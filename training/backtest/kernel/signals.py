"""What a rule says at every bar, before anything is traded: it does not depend on the position."""

import math

from trading.strategy.rules.columns import ASK_CLOSE, BID_CLOSE
from trading.strategy.rules.order import take_return, volatility_of
from trading.strategy.rules.step import rule_step
from training.backtest.kernel.arrays import MarketArrays, Said
from training.backtest.kernel.borrowed import pointer_to
from training.backtest.kernel.compilation import Array, compiled

NOTHING, SIDE, GUARDED = range(3)  # what is said at a bar: nothing, a weight, a weight and distances


@compiled
def take_bars(market: MarketArrays, said: Said, rule: int, parameters: Array, state: Array, decay: float) -> None:
    """Take all bars in, one instrument after the other.

    Args:
        market: not changed.
        said: written.
        rule: number of the rule; ``parameters`` float64 [K] are its own.
        state: float64 of the rule's size; made anew for each instrument.
        decay: of the volatility; 0 where nobody sizes by it.
    """
    rows, present = market.rows, market.present
    count, width = rows.shape[1], rows.shape[2]
    bars, memory, own = pointer_to(rows), pointer_to(state), pointer_to(parameters)
    words, weights, distances, volatilities = said.words, said.weights, said.distances, said.volatilities
    for n in range(count):
        state.fill(0.0)
        seen = middle = variance = 0.0
        for row in range(present.shape[0]):
            words[row, n] = NOTHING
            if not present[row, n]:
                continue
            at = (row * count + n) * width
            signal = rule_step(rule, memory, 0, bars, at, own)
            if decay > 0.0:
                now = 0.5 * (bars[at + BID_CLOSE] + bars[at + ASK_CLOSE])
                seen, middle, variance = take_return(seen, middle, variance, now, decay)
                volatilities[row, n] = volatility_of(seen, variance)
            if math.isnan(signal.weight):
                continue
            weights[row, n] = signal.weight
            words[row, n] = SIDE
            if signal.stop > 0.0 or signal.target > 0.0 or signal.trailing > 0.0 or signal.offset > 0.0:
                words[row, n] = GUARDED
                distances[row, n, 0] = signal.stop
                distances[row, n, 1] = signal.target
                distances[row, n, 2] = signal.trailing
                distances[row, n, 3] = signal.offset
