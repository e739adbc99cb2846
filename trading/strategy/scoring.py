"""What is noted of a step so that versions beside the traded one can be sized, and paid, as they would have been."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from core.domain import Instrument
from trading.records import ScoringInput
from trading.strategy.decide import Costs, Inputs, round_trip_cost


def scoring_inputs(
    names: Sequence[str], instruments: Mapping[str, Instrument], inputs: Inputs, costs: Costs
) -> tuple[ScoringInput, ...]:
    """Return what ``decide`` reads of each instrument, in the order of ``names``."""
    found: list[ScoringInput] = []
    for name in names:
        base, _, quoted = name.partition("_")
        quote = inputs.quotes.get(name)
        rate = inputs.rates.get(base, 0.0)
        units = inputs.positions.get(name, Decimal(0))
        found.append(
            ScoringInput(
                instrument=name,
                volatility=inputs.volatilities.get(name, float("nan")),
                cost=round_trip_cost(quote, float(instruments[name].pip), costs) if quote is not None else 0.0,
                base_rate=rate,
                quote_rate=inputs.rates.get(quoted, 0.0),
                held=float(units) * rate / inputs.equity if inputs.equity > 0 else 0.0,
                exits_only=inputs.reducing or name in inputs.exits_only,
            )
        )
    return tuple(found)
