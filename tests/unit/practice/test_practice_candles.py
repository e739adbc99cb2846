"""Candles against hand-made ticks, and the edges of their intervals."""

import pytest

from core.clock import from_rfc3339, to_rfc3339
from core.domain import Quote
from trading.practice.candles import Alignment, TickStore, interval, make_candles

START = from_rfc3339("2024-03-05T10:00:00Z")
SECOND = 10**9


def store(*ticks: tuple[int, float]) -> TickStore:
    made = TickStore()
    for seconds, bid in ticks:
        made.add(Quote("EUR_USD", START + seconds * SECOND, START, bid, bid + 0.0002))
    return made


def test_ticks_become_bars_and_empty_intervals_none() -> None:
    ticks = store((0, 1.10), (20, 1.12), (59, 1.09), (60, 1.11), (200, 1.2))
    first, second, third = make_candles(ticks, "M1", None, None, 10)
    assert (first.bid, first.volume) == ([1.10, 1.12, 1.09, 1.09], 3)
    assert first.ask[0] == 1.10 + 0.0002
    assert (second.open_ns, second.bid) == (START + 60 * SECOND, [1.11] * 4)
    assert third.open_ns == START + 180 * SECOND
    assert [c.open_ns for c in make_candles(ticks, "M1", None, None, 2)] == [second.open_ns, third.open_ns]
    assert [c.open_ns for c in make_candles(ticks, "M1", START + 30 * SECOND, None, 2)] == [
        second.open_ns,
        third.open_ns,
    ]
    assert [c.open_ns for c in make_candles(ticks, "M1", START, START + 60 * SECOND, 9)] == [START]


@pytest.mark.parametrize(
    ("moment", "granularity", "opens", "closes"),
    [
        ("2024-03-05T10:07:31Z", "M15", "2024-03-05T10:00:00", "2024-03-05T10:15:00"),
        ("2024-03-05T10:07:31Z", "H1", "2024-03-05T10:00:00", "2024-03-05T11:00:00"),
        ("2024-03-05T10:07:31Z", "H4", "2024-03-05T10:00:00", "2024-03-05T14:00:00"),
        ("2024-03-05T10:07:31Z", "D", "2024-03-04T22:00:00", "2024-03-05T22:00:00"),
        ("2024-03-10T12:00:00Z", "D", "2024-03-09T22:00:00", "2024-03-10T21:00:00"),  # clocks go forward
        ("2024-03-05T10:07:31Z", "W", "2024-03-01T22:00:00", "2024-03-08T22:00:00"),
        ("2024-03-05T10:07:31Z", "M", "2024-03-01T22:00:00", "2024-04-01T21:00:00"),
    ],
)
def test_intervals_align_as_the_real_endpoint_does(moment: str, granularity: str, opens: str, closes: str) -> None:
    begin, end = interval(from_rfc3339(moment), granularity, Alignment())
    assert (to_rfc3339(begin)[:19], to_rfc3339(end)[:19]) == (opens, closes)
