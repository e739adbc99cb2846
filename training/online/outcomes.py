"""Which class of the label came true, told from the prices at the decisions, once the horizon is over."""

from trading.strategy.sizing import SizingParameters
from training.online.decisions import DecisionStep, InstrumentStep

SHORT, FLAT, LONG = 0, 1, 2


def outcome_classes(steps: list[DecisionStep], sizing: SizingParameters) -> dict[tuple[int, str], int]:
    """Return the class of each decision whose outcome is known, by number of the step and instrument.

    As the fixed-horizon label has it (``training.labels.fixed_horizon``): a decision is *long* where the middle moved
    up, over ``horizon`` of the instrument's own bars, by more than ``minimum_edge`` times the round trip's cost (half
    of it at the spread of either end), *short* where it moved down by more, else *flat*. Weekends and missing bars are
    no bars. Decisions whose cost is not noted have no class.

    Args:
        steps: all decision steps, oldest first, those without alternatives too.
        sizing: names horizon and edge.
    """
    bars: dict[str, list[int]] = {}
    for number, step in enumerate(steps):
        answered = step.answered
        for name, seen in step.instruments.items():
            if seen.mid > 0 and (seen.answers or not answered):
                bars.setdefault(name, []).append(number)
    found: dict[tuple[int, str], int] = {}
    for name, numbers in bars.items():
        for begin, end in zip(numbers, numbers[sizing.horizon :], strict=False):
            first, last = steps[begin].instruments[name], steps[end].instruments[name]
            if first.scored and first.cost > 0:
                found[begin, name] = _class(first, last, sizing.minimum_edge)
    return found


def _class(first: InstrumentStep, last: InstrumentStep, edge: float) -> int:
    end_cost = last.cost if last.scored and last.cost > 0 else first.cost
    cost = (first.cost * first.mid + end_cost * last.mid) / 2.0
    move = last.mid - first.mid
    if move > edge * cost:
        return LONG
    return SHORT if -move > edge * cost else FLAT
