"""The one place for trading cost: half spread, slippage and commission per instrument.

Where the source quotes bid and ask, the half spread is theirs; where it has one price only (fixings, mid-price bars)
it is modelled by ``costs.half_spread_pips``. Slippage and commission are always parameters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.domain import INPUT_COLUMNS, BarKind, Panel, default_instrument
from core.errors import BadInputError

BID = INPUT_COLUMNS.index("bid_close")
ASK = INPUT_COLUMNS.index("ask_close")


@dataclass(frozen=True)
class Quotes:
    """Tradable closing prices and costs, all float64 [T, N] but ``slippage`` [N] (price) and ``commission`` (fraction).

    ``middle`` is NaN where an instrument has no bar; ``half_spread`` is in price units.
    """

    middle: NDArray[np.float64]
    half_spread: NDArray[np.float64]
    slippage: NDArray[np.float64]
    commission: float
    modelled: tuple[bool, ...]  # per instrument: is the half spread a parameter?


def _number(costs: Mapping[str, Any], key: str) -> float:
    value = costs.get(key, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise BadInputError(f"params.yaml: costs.{key} must be a number of at least 0, not {value!r}")
    return float(value)


def modelled_half_spread(costs: Mapping[str, Any], instrument: str) -> float:
    """Return the modelled half spread of an instrument in price units.

    Raises:
        BadInputError: the parameter is missing or no positive number.
    """
    pips = (costs.get("half_spread_pips") or {}).get(instrument)
    if isinstance(pips, bool) or not isinstance(pips, int | float) or not pips >= 0:
        raise BadInputError(
            f"params.yaml: costs.half_spread_pips.{instrument} is missing or negative: "
            "a source with one price needs a modelled spread"
        )
    return float(pips) * float(default_instrument(instrument).pip)


def quote_panel(panel: Panel, costs: Mapping[str, Any]) -> Quotes:
    """Return what each bar's close costs to trade.

    Raises:
        BadInputError: a modelled spread is missing, or a quoted spread is negative.
    """
    bid, ask = panel.values[:, :, BID], panel.values[:, :, ASK]
    middle, half = (bid + ask) / 2.0, (ask - bid) / 2.0
    modelled: list[bool] = []
    for index, name in enumerate(panel.instruments):
        known = half[~np.isnan(half[:, index]), index]
        if known.size and known.min() < 0:
            raise BadInputError(
                f"{name} has crossed quotes in the catalog: run ingest again, its gate quarantines them"
            )
        one_price = panel.kind is BarKind.FIXING or not known.any()
        modelled.append(one_price)
        if one_price:
            half[:, index] = np.where(np.isnan(middle[:, index]), np.nan, modelled_half_spread(costs, name))
    return Quotes(middle, half, slippage(costs, panel.instruments), commission(costs), tuple(modelled))


def slippage(costs: Mapping[str, Any], instruments: Sequence[str]) -> NDArray[np.float64]:
    """Return the slippage per side in price units, float64 [N]."""
    pips = _number(costs, "slippage_pips")
    return np.array([pips * float(default_instrument(name).pip) for name in instruments])


def commission(costs: Mapping[str, Any]) -> float:
    """Return the commission per side as a fraction of the notional."""
    return _number(costs, "commission_per_million") / 1e6
