"""Quotes become bars and steps: sampled at the fixing, closed at the boundary, missing ones named."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import from_rfc3339
from core.domain import BarKind, Heartbeat, Quote, default_instrument
from core.errors import ConfigurationError
from trading.bars import BarBuilder, FixingSampler
from trading.calendar import BarSchedule, FixingSchedule, trading_day
from trading.steps import Step, StepAssembler

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
START = from_rfc3339("2024-03-04T00:00:00Z")
NAMES = ("EUR_USD", "USD_JPY")
INSTRUMENTS = {name: default_instrument(name) for name in NAMES}


def quote(name: str, time_ns: int, bid: float, ask: float, simulated: bool = False) -> Quote:
    return Quote(name, time_ns, time_ns, bid, ask, simulated=simulated)


def bars_assembler(timeout: float = 30.0) -> StepAssembler:
    schedule = BarSchedule(3600)
    return StepAssembler(NAMES, BarBuilder(INSTRUMENTS, schedule, HOUR), schedule, timeout)


def fixing_assembler() -> StepAssembler:
    schedule = FixingSchedule()
    return StepAssembler(NAMES, FixingSampler(INSTRUMENTS, schedule, 10 * SECOND), schedule, 30.0)


def feed(assembler: StepAssembler, *events: Quote | Heartbeat) -> list[Step]:
    return [step for event in events for step in assembler.on_event(event)]


def test_a_bar_holds_the_quotes_of_its_hour_and_no_other() -> None:
    steps = feed(
        bars_assembler(),
        quote("EUR_USD", START, 1.10, 1.11),
        quote("EUR_USD", START + SECOND, 1.13, 1.14),
        quote("USD_JPY", START + SECOND, 150.0, 150.1),
        quote("EUR_USD", START + 2 * SECOND, 1.09, 1.10),
        quote("EUR_USD", START + HOUR - 1, 1.12, 1.13),
        quote("EUR_USD", START + HOUR, 2.0, 2.1),
        Heartbeat(START + HOUR, START + HOUR),
    )
    assert [step.time_ns for step in steps] == [START + HOUR]
    assert steps[0].rows[0].tolist() == [1.10, 1.13, 1.09, 1.12, 1.11, 1.14, 1.10, 1.13, 4.0]
    assert steps[0].rows[1].tolist() == [150.0] * 4 + [150.1] * 4 + [1.0]
    assert steps[0].missing == ()


def test_simulated_quotes_give_no_volume() -> None:
    steps = feed(
        bars_assembler(), quote("EUR_USD", START, 1.1, 1.2, simulated=True), Heartbeat(START + HOUR, START + HOUR)
    )
    assert math.isnan(steps[0].rows[0, 8])
    assert steps[0].simulated
    assert steps[0].missing == ("USD_JPY",)


def test_a_step_closes_without_a_heartbeat_when_everybody_quoted_past_it_or_time_is_up() -> None:
    first = [quote("EUR_USD", START, 1.1, 1.2), quote("USD_JPY", START, 150.0, 150.1)]
    past = START + HOUR + SECOND
    assembler = bars_assembler()
    assert feed(assembler, *first, quote("EUR_USD", past, 1.1, 1.2)) == []
    assert len(feed(assembler, quote("USD_JPY", past + 1, 150.0, 150.1))) == 1
    late = bars_assembler(timeout=30.0)
    assert feed(late, *first, quote("EUR_USD", START + HOUR + 29 * SECOND, 1.1, 1.2)) == []
    assert len(feed(late, quote("EUR_USD", START + HOUR + 31 * SECOND, 1.1, 1.2))) == 1


def test_hours_without_quotes_make_no_step() -> None:
    steps = feed(
        bars_assembler(),
        quote("EUR_USD", START, 1.1, 1.2),
        Heartbeat(START + HOUR, START + HOUR),
        Heartbeat(START + 50 * HOUR, START + 50 * HOUR),
        quote("EUR_USD", START + 50 * HOUR + 5, 1.1, 1.2),
        Heartbeat(START + 51 * HOUR, START + 51 * HOUR),
    )
    assert [(step.time_ns - START) // HOUR for step in steps] == [1, 51]


def test_a_fixing_is_the_last_quote_at_or_before_its_time() -> None:
    fixing = from_rfc3339("2024-03-04T13:15:00Z")  # 14:15 in Berlin
    steps = feed(
        fixing_assembler(),
        quote("EUR_USD", fixing - 60 * SECOND, 1.08001, 1.08013),
        quote("EUR_USD", fixing, 1.08505, 1.08517),
        quote("EUR_USD", fixing + 1, 9.0, 9.1),
        quote("USD_JPY", fixing - 11 * SECOND, 150.0, 150.1),  # too old to be the price of that moment
        Heartbeat(fixing + SECOND, fixing + SECOND),
    )
    assert [step.time_ns for step in steps] == [fixing]
    assert steps[0].rows[0, 3] == steps[0].rows[0, 7] == 1.08511
    assert np.isnan(np.delete(steps[0].rows[0], [3, 7])).all()
    assert steps[0].missing == ("USD_JPY",)


def test_fixings_skip_weekends_and_holidays_and_follow_summer_time() -> None:
    schedule = FixingSchedule()
    thursday = from_rfc3339("2024-03-28T13:15:00Z")
    assert schedule.next_after(thursday - 1) == thursday
    # Good Friday, the weekend and Easter Monday have no fixing; Berlin went to summer time in between.
    assert schedule.next_after(thursday) == from_rfc3339("2024-04-02T12:15:00Z")
    with pytest.raises(ConfigurationError):
        FixingSchedule("25:99")


def test_the_trading_day_begins_at_five_in_new_york() -> None:
    before, after = from_rfc3339("2024-03-05T21:59:59Z"), from_rfc3339("2024-03-05T22:00:00Z")
    assert trading_day(after) == trading_day(before) + 1


def test_boundaries_between_two_times() -> None:
    assert bars_assembler().boundaries(START, START + 3 * HOUR) == [START + hour * HOUR for hour in (1, 2, 3)]
    assert bars_assembler().boundaries(START + 1, START + HOUR - 1) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 10 * 3600), st.integers(100_000, 120_000), st.integers(1, 50)), min_size=1, max_size=60
    )
)
def test_bars_against_a_plain_grouping(ticks: list[tuple[int, int, int]]) -> None:
    """Independent model: group by hour, then first, max, min, last."""
    ticks = sorted(ticks, key=lambda tick: tick[0])
    events: list[Quote | Heartbeat] = []
    grouped: dict[int, list[tuple[float, float]]] = {}
    for second, points, spread in ticks:
        bid, ask = points / 1e5, (points + spread) / 1e5
        events.append(quote("EUR_USD", START + second * SECOND, bid, ask))
        grouped.setdefault(second // 3600, []).append((bid, ask))
    events.append(Heartbeat(START + 12 * HOUR, START + 12 * HOUR))
    steps = feed(bars_assembler(), *events)
    assert [(step.time_ns - START) // HOUR - 1 for step in steps] == sorted(grouped)
    for step in steps:
        prices = grouped[(step.time_ns - START) // HOUR - 1]
        expected: list[float] = []
        for side in (0, 1):
            values = [price[side] for price in prices]
            expected += [values[0], max(values), min(values), values[-1]]
        assert step.rows[0].tolist() == [*expected, float(len(prices))]


def test_bar_kind_of_a_fixing() -> None:
    fixing = from_rfc3339("2024-03-04T13:15:00Z")
    sampler = FixingSampler(INSTRUMENTS, FixingSchedule(), 10 * SECOND)
    sampler.on_quote(quote("EUR_USD", fixing, 1.1, 1.2))
    bar = sampler.close_until(fixing)["EUR_USD"]
    assert bar.kind is BarKind.FIXING
    assert bar.open_time_ns == bar.close_time_ns == fixing
