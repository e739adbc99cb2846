"""How well a plan was executed, in words that stay in the journal with its end."""

from decimal import Decimal

from core.domain import Instrument
from trading.execution.plan import ExecutionPlan
from trading.execution.progress import Progress


def shortfall_pips(plan: ExecutionPlan, average_price: Decimal, instrument: Instrument) -> float | None:
    """Return the average price against the middle at arrival in pips; positive was paid, negative was gained.

    This is the implementation shortfall of the executed part (Perold, "The implementation shortfall: paper versus
    reality", Journal of Portfolio Management 14, 1988). None where the plan knows no arrival price.
    """
    if plan.arrival_mid is None:
        return None
    side = 1 if plan.parent.units > 0 else -1
    return round(float((average_price - plan.arrival_mid) / instrument.pip) * side, 4)


def describe_execution(plan: ExecutionPlan, progress: Progress, instrument: Instrument, words: str) -> str:
    """Return one line: how much was executed in how many children, at what price against arrival, and ``words``."""
    text = f"{progress.executed:f} of {plan.parent.units:f} units in {progress.legs} children"
    average = progress.average_price
    if average is not None:
        text += f", average {average.quantize(instrument.tick / 10):f}"
        pips = shortfall_pips(plan, average, instrument)
        if pips is not None and plan.arrival_mid is not None:
            text += f", arrival middle {plan.arrival_mid.normalize():f}, shortfall {pips:+.2f} pips"
        if plan.expected_cost_pips is not None:
            text += f" (expected {plan.expected_cost_pips:+.2f})"
    return f"{text}; {words}" if words else text
