"""Exposure and conversion to the account currency, in floats, from the standing quotes."""

from collections.abc import Mapping
from functools import lru_cache

from core.domain import Quote


def conversion_rates(quotes: Mapping[str, Quote], account_currency: str) -> dict[str, float]:
    """Return the account currency's worth of one unit of each currency, from middle prices.

    A currency is reached over a chain of quoted pairs, the fewest first (``EUR_CHF`` and ``EUR_USD`` give CHF). What no
    chain reaches is not in the result.
    """
    middles = {name: (quote.bid + quote.ask) / 2.0 for name, quote in quotes.items()}
    usable = tuple(sorted([name for name, middle in middles.items() if middle > 0]))
    rates = {account_currency: 1.0}
    for other, known, name, inverse in _chains(usable, account_currency):
        rates[other] = rates[known] * (1.0 / middles[name] if inverse else middles[name])
    return rates


@lru_cache(maxsize=64)
def _chains(names: tuple[str, ...], home: str) -> tuple[tuple[str, str, str, bool], ...]:
    """Return how each currency is reached, nearest first: from which known one, over which pair, whether inverted."""
    edges: dict[str, list[tuple[str, str, bool]]] = {}
    for name in names:
        base, _, counter = name.partition("_")
        edges.setdefault(counter, []).append((base, name, False))
        edges.setdefault(base, []).append((counter, name, True))
    chains: list[tuple[str, str, str, bool]] = []
    seen = {home}
    frontier = [home]
    while frontier:
        reached: list[str] = []
        for known in frontier:
            for other, name, inverse in edges.get(known, []):
                if other not in seen:
                    seen.add(other)
                    chains.append((other, known, name, inverse))
                    reached.append(other)
        frontier = reached
    return tuple(chains)


def gross_exposure(positions: Mapping[str, float], rates: Mapping[str, float]) -> float:
    """Return the sum of the absolute notionals in account currency.

    Raises:
        KeyError: a held currency has no rate.
    """
    return sum(abs(units) * rates[name.partition("_")[0]] for name, units in positions.items() if units)


def currency_exposures(positions: Mapping[str, float], rates: Mapping[str, float]) -> dict[str, float]:
    """Return the signed exposure to each currency in account currency: long EUR_USD is long EUR and short USD.

    Raises:
        KeyError: a held currency has no rate.
    """
    exposures: dict[str, float] = {}
    for name, units in positions.items():
        if units:
            base, _, counter = name.partition("_")
            notional = units * rates[base]
            exposures[base] = exposures.get(base, 0.0) + notional
            exposures[counter] = exposures.get(counter, 0.0) - notional
    return exposures
