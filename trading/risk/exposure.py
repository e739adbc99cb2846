"""Exposure and conversion to the account currency, in floats, from the standing quotes."""

from collections.abc import Mapping

from core.domain import Quote


def conversion_rates(quotes: Mapping[str, Quote], account_currency: str) -> dict[str, float]:
    """Return the account currency's worth of one unit of each currency, from middle prices.

    A currency is reached over a chain of quoted pairs, the fewest first (``EUR_CHF`` and ``EUR_USD`` give CHF). What no
    chain reaches is not in the result.
    """
    edges: dict[str, list[tuple[str, float]]] = {}
    for name in sorted(quotes):
        quote = quotes[name]
        base, _, counter = name.partition("_")
        middle = (quote.bid + quote.ask) / 2.0
        if middle > 0:
            edges.setdefault(counter, []).append((base, middle))
            edges.setdefault(base, []).append((counter, 1.0 / middle))
    rates = {account_currency: 1.0}
    frontier = [account_currency]
    while frontier:
        reached: list[str] = []
        for known in frontier:
            for other, factor in edges.get(known, []):
                if other not in rates:
                    rates[other] = rates[known] * factor
                    reached.append(other)
        frontier = reached
    return rates


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
