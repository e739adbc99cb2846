"""The venue's clock: what a step publishes, in which order, and what it must not."""

import json
from decimal import Decimal
from typing import Any

from matching_cases import named
from panels_made_up import NAMES, bar_panel

from core.clock import from_rfc3339
from core.domain import default_instrument
from trading.matching.commands import OrderSpecification, Submit
from trading.practice.config import ClockMode, PracticeConfig
from trading.practice.feeds.bars import BarsFeed
from trading.practice.persistence import Store
from trading.practice.streams import Subscriber
from trading.practice.venue import Venue

INSTRUMENTS = {name: default_instrument(name) for name in NAMES}
POINTS = {"EUR_JPY": 9, "EUR_USD": 6}


def bars_venue() -> Venue:
    panel = bar_panel()
    feed = BarsFeed(panel, INSTRUMENTS, start_ns=int(panel.time_ns[5]), half_spread_points=POINTS)
    config = PracticeConfig(token="t", account_id="101-001-1-001", clock=ClockMode.LOCKSTEP)
    return Venue(config, INSTRUMENTS, feed, Store(None))


async def lines(subscriber: Subscriber) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (await subscriber.take(1.0)).splitlines()]


async def test_a_step_of_bars_ends_before_the_next_bar_opens() -> None:
    venue = bars_venue()
    reader = Subscriber(frozenset(NAMES))
    venue.streams.subscribers.append(reader)
    for _ in range(3):
        moved = venue.advance()
        got = await lines(reader)
        assert moved.ticks == 8 == len(got) - 1  # four ticks a pair
        assert got[-1]["type"] == "HEARTBEAT" and from_rfc3339(got[-1]["time"]) == moved.time_ns
        assert all(from_rfc3339(line["time"]) < moved.time_ns for line in got[:-1])
        assert venue.time_ns == moved.time_ns


async def test_what_a_tick_causes_is_published_before_the_next_tick() -> None:
    venue = bars_venue()
    venue.advance()
    bid = venue.exchange.book.quotes["EUR_USD"].bid
    item = INSTRUMENTS["EUR_USD"]
    spec = OrderSpecification(
        type="MARKET_IF_TOUCHED",
        instrument="EUR_USD",
        units=Decimal(-1000),
        price=item.round_price(bid - 0.0005),
        client_extensions=named("touched"),
    )
    venue.apply(Submit(time_ns=venue.time_ns, order=spec))
    both = Subscriber(frozenset(NAMES))
    events = Subscriber(None)
    events.send = both.send  # type: ignore[method-assign] - one queue shows the order across the two streams
    venue.streams.subscribers += [both, events]
    while not venue.ended and not venue.exchange.log.open_trades:
        venue.advance()
    got = await lines(both)
    at = next(position for position, line in enumerate(got) if line["type"] == "ORDER_FILL")
    cause = got[at - 1]
    assert (cause["type"], cause["instrument"]) == ("PRICE", "EUR_USD")
    assert cause["bids"][0]["price"] == got[at]["price"] and cause["time"] == got[at]["time"]


def test_the_end_is_told_with_the_last_step_and_stays() -> None:
    venue = bars_venue()
    ends = [venue.advance().end for _ in range(25)]
    assert ends == [False] * 24 + [True]
    again = venue.advance()
    assert (again.ticks, again.end, again.time_ns) == (0, True, venue.time_ns)
