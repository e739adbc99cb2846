"""What profits in each quote currency are worth at home, as the exchange and the loop convert them.

Exact factors follow ``trading.matching.market``: a gain is sold for the home currency, a loss bought, over the shortest
chain of quoted pairs (ties: alphabetical), twelve decimals. Sizes and marks use middle prices over the chains of
``trading.risk.exposure``, as the loop does.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
from numpy.typing import NDArray

from core.domain import Instrument
from core.errors import BadInputError
from training.backtest.kernel.arrays import HOME, OTHER, OWN

Chain = list[tuple[int, bool]]  # index of the pair, and whether the currency held is its base
_FACTOR = Decimal(10) ** -12


def chain_home(names: Sequence[str], currency: str, home: str) -> Chain | None:
    """Return the shortest chain of pairs from a currency to home; empty at home, None where there is none."""
    if currency == home:
        return []
    order = sorted(range(len(names)), key=lambda index: names[index])
    queue: deque[tuple[str, Chain]] = deque([(currency, [])])
    seen = {currency}
    while queue:
        held, path = queue.popleft()
        for index in order:
            base, _, quoted = names[index].partition("_")
            if held not in (base, quoted):
                continue
            other = quoted if held == base else base
            step: Chain = [*path, (index, held == base)]
            if other == home:
                return step
            if other not in seen:
                seen.add(other)
                queue.append((other, step))
    return None


def routes(instruments: Sequence[Instrument], home: str) -> tuple[NDArray[np.int64], list[Chain]]:
    """Return how each instrument's quote currency comes home, int64 [N], and its chain.

    Raises:
        BadInputError: a currency has no chain.
    """
    names = [instrument.name for instrument in instruments]
    kinds = np.zeros(len(names), np.int64)
    chains: list[Chain] = []
    for index, instrument in enumerate(instruments):
        chain = chain_home(names, instrument.quote, home)
        if chain is None:
            raise BadInputError(
                f"{instrument.name} earns {instrument.quote}, which no pair of the market converts into {home}: "
                f"add {instrument.quote}_{home} or {home}_{instrument.quote}"
            )
        chains.append(chain)
        kinds[index] = HOME if not chain else OWN if chain == [(index, False)] else OTHER
    return kinds, chains


def exact_factors(
    bid: NDArray[np.int64], ask: NDArray[np.int64], decimals: Sequence[int], chain: Chain
) -> NDArray[np.int64]:
    """Return conversion factors of gain and loss over a chain as whole numbers of 10^-12, int64 [T, 2].

    Args:
        bid, ask: int64 [T, N] standing quotes in ticks; 0 where there was none yet: the factor is then 0.
        decimals: of each pair's price.
        chain: not empty.
    """
    result = np.zeros((len(bid), 2), np.int64)
    columns = [index for index, _ in chain]
    quotes = np.concatenate([bid[:, columns], ask[:, columns]], axis=1)
    distinct, place = np.unique(quotes, axis=0, return_inverse=True)
    factors = np.zeros((len(distinct), 2), np.int64)
    for row, values in enumerate(distinct.tolist()):
        if 0 in values:
            continue
        gain = loss = Decimal(1)
        for position, (index, selling) in enumerate(chain):
            tick = Decimal(1).scaleb(-decimals[index])
            low, high = values[position] * tick, values[position + len(chain)] * tick
            gain, loss = (gain * low, loss * high) if selling else (gain / high, loss / low)
        for side, factor in enumerate((gain, loss)):
            factors[row, side] = int(factor.quantize(_FACTOR, rounding=ROUND_HALF_EVEN).scaleb(12))
    result[:] = factors[place.reshape(-1)]
    return result


def middle_rates(
    middles: NDArray[np.float64], names: Sequence[str], home: str, currencies: Mapping[str, None] | Sequence[str]
) -> dict[str, NDArray[np.float64]]:
    """Return the home currency's worth of one unit of each currency over middle prices, float64 [T] each.

    Raises:
        BadInputError: a currency has no chain.
    """
    result: dict[str, NDArray[np.float64]] = {}
    for currency in currencies:
        chain = chain_home(names, currency, home)
        if chain is None:
            raise BadInputError(f"no pair of the market converts {currency} into {home}")
        rate = np.ones(len(middles))
        for index, selling in reversed(chain):
            rate = rate * (middles[:, index] if selling else 1.0 / middles[:, index])
        result[currency] = rate
    return result
