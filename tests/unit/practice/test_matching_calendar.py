"""What time does by itself: financing, weekends, maintenance, and halts that end."""

from decimal import Decimal

from matching_cases import START, Desk, kinds, only

from core.clock import from_rfc3339, to_rfc3339
from core.domain import Quote, default_instrument
from trading.matching.book import AccountConfiguration
from trading.matching.commands import Halt, Ticks
from trading.matching.exchange import Exchange
from trading.matching.transactions import AnyTransaction, DailyFinancing, OrderCancel, OrderFill


def until(desk: Desk, moment: str) -> list[AnyTransaction]:
    desk.now = from_rfc3339(moment)
    return desk.apply(Ticks(time_ns=desk.now))


def test_financing_is_charged_at_five_in_new_york_and_thrice_on_wednesday() -> None:
    rates = {"EUR_USD": (Decimal("-0.03"), Decimal("0.01"))}
    desk = Desk(financing=True, financing_rates=rates)  # opened on Tuesday 2024-03-05, New York is UTC-5
    desk.order(100_000)
    trade = only(desk.order(-10_000, "USD_JPY"), OrderFill).id
    assert until(desk, "2024-03-05T21:59:59Z") == []
    charged = only(until(desk, "2024-03-05T22:30:00Z"), DailyFinancing)
    # 100,000 x 1.1001 x -3 % / 365, and 10,000 x 150.01 JPY x -1 % / 365 bought at 1/150.000.
    assert [(part.instrument, part.financing) for part in charged.position_financings] == [
        ("EUR_USD", Decimal("-9.0419")),
        ("USD_JPY", Decimal("-0.2740")),
    ]
    assert charged.time == "2024-03-05T22:00:00.000000000Z" and charged.account_financing_mode == "DAILY"
    assert charged.financing == Decimal("-9.3159") and desk.balance == Decimal("99990.6841") == charged.account_balance
    assert desk.exchange.book.trades[trade].financing == Decimal("-0.2740")
    wednesday = only(until(desk, "2024-03-06T22:00:00Z"), DailyFinancing)
    assert wednesday.position_financings[0].financing == Decimal("-27.1258")
    assert kinds(until(desk, "2024-03-11T20:59:59Z")) == ["DAILY_FINANCING"] * 2  # Thursday and Friday
    # Clocks went forward on Sunday: 17:00 is 21:00 UTC now.
    monday = only(until(desk, "2024-03-11T21:00:00Z"), DailyFinancing)
    assert monday.time == "2024-03-11T21:00:00.000000000Z"
    closed = only(desk.order(-100_000), OrderFill)
    assert closed.financing == 0
    assert desk.balance == 100_000 + desk.exchange.book.pl + desk.exchange.book.financing
    totals = desk.exchange.book.positions
    assert sum(t.long.financing + t.short.financing for t in totals.values()) == desk.exchange.book.financing


def test_nothing_is_charged_unless_configured_or_without_a_position() -> None:
    desk = Desk()
    desk.order(100_000)
    assert until(desk, "2024-03-09T00:00:00Z") == []
    flat = Desk(financing=True)
    assert until(flat, "2024-03-09T00:00:00Z") == []


def test_the_weekend_closes_the_market_and_pending_orders_wait() -> None:
    desk = Desk(weekend_halt=True)
    desk.order(1000, type="LIMIT", price=Decimal("1.09000"))
    until(desk, "2024-03-08T22:00:00Z")  # Friday 17:00 New York
    assert not desk.exchange.market.tradeable("EUR_USD")
    assert only(desk.order(1000), OrderCancel).reason == "MARKET_HALTED"
    assert desk.quote("EUR_USD", "1.08000", "1.08020") == []  # nobody trades on it
    until(desk, "2024-03-10T20:59:59Z")
    assert not desk.exchange.market.tradeable("EUR_USD")
    desk.now = from_rfc3339("2024-03-10T21:00:00Z")  # Sunday 17:00, summer time now
    filled = only(desk.quote("EUR_USD", "1.08500", "1.08520"), OrderFill)
    assert filled.price == Decimal("1.08520")  # through the gap


def test_maintenance_is_every_day_in_new_york_time() -> None:
    desk = Desk(maintenance=((16 * 60 + 59, 17 * 60 + 5),))
    for moment, is_open in (
        ("2024-03-05T21:58:59Z", True),
        ("2024-03-05T21:59:00Z", False),
        ("2024-03-05T22:04:59Z", False),
        ("2024-03-05T22:05:00Z", True),
        ("2024-03-11T20:59:00Z", False),  # an hour earlier in UTC
        ("2024-03-11T21:59:00Z", True),
    ):
        until(desk, moment)
        assert desk.exchange.market.tradeable("EUR_USD") is is_open, moment
    around = Desk(maintenance=((23 * 60 + 50, 10),))  # over midnight
    until(around, "2024-03-06T05:05:00Z")
    assert not around.exchange.market.tradeable("EUR_USD")


def test_metals_rest_an_hour_a_day() -> None:
    instruments = {name: default_instrument(name) for name in ("EUR_USD", "XAU_USD")}
    hours = Exchange(instruments, AccountConfiguration(weekend_halt=True), START).market.hours
    for moment, gold in (
        ("2024-03-05T21:59:59Z", True),
        ("2024-03-05T22:30:00Z", False),
        ("2024-03-05T23:00:00Z", True),
    ):
        assert hours.is_open("EUR_USD", from_rfc3339(moment))
        assert hours.is_open("XAU_USD", from_rfc3339(moment)) is gold, moment
    assert to_rfc3339(hours.next_change("EUR_USD", START)).startswith("2024-03-08T22:00:00")


def test_a_halt_ends_by_itself_and_survives_a_snapshot() -> None:
    desk = Desk()
    later = desk.now + 10 * 10**9
    desk.apply(Halt(time_ns=desk.now, instrument="EUR_USD", halted=True, until_ns=later))
    assert only(desk.order(1000), OrderCancel).reason == "MARKET_HALTED"
    desk.exchange = Exchange.restore(desk.exchange.instruments, desk.exchange.snapshot())
    desk.exchange.on_quote(Quote("EUR_USD", later - 1, later - 1, 1.1, 1.1002))
    assert not desk.exchange.market.tradeable("EUR_USD")
    desk.exchange.on_quote(Quote("EUR_USD", later, later, 1.1, 1.1002))
    assert desk.exchange.market.tradeable("EUR_USD") and not desk.exchange.book.halted_until
