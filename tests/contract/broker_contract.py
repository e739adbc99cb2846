"""What every broker adapter must do: the one contract class. A subclass says which ``Venue`` it runs at.

Its parts: ``broker_order_types`` (every order type), ``broker_accounts`` (netting, hedging, FIFO),
``broker_interruptions`` (every operation while something breaks), and here the rest.
"""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest
from broker_accounts import AccountContract
from broker_interruptions import InterruptionContract, NetworkInterruptionContract
from broker_order_types import OrderTypeContract
from broker_venue import WAIT_SECONDS, RemoteVenue, Venue, client_id, fills, limit, market, resting, take, until_fill

from core.domain import (
    BrokerEvent,
    Heartbeat,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    OrderRejected,
    OrderRequest,
    OrderType,
    Quote,
    RejectReason,
    TimeInForce,
)
from core.errors import ConfigurationError, UnavailableError
from trading.brokers.interface import Broker, attached_order_id

HOUR_NS = 3_600 * 1_000_000_000


class BrokerContract(OrderTypeContract, AccountContract, InterruptionContract):
    """Inherit, and say where: ``make_venue``, ``broker_name``, ``capabilities``."""

    async def units(self, broker: Broker, instrument: str = "EUR_USD") -> Decimal:
        position = (await broker.positions()).get(instrument)
        return position.units if position else Decimal(0)

    async def test_connect_tells_who_and_what(self, broker: Broker) -> None:
        state = await broker.account()
        assert broker.name == self.broker_name
        assert (state.currency, state.balance, state.net_asset_value) == ("USD", Decimal(100_000), Decimal(100_000))
        assert (state.open_position_count, state.open_order_count, state.hedging_enabled) == (0, 0, False)
        assert await broker.positions() == {} and await broker.open_orders() == []

    async def test_instruments_have_their_precisions(self, broker: Broker) -> None:
        instruments = await broker.instruments()
        euro, yen = instruments["EUR_USD"], instruments["USD_JPY"]
        assert (euro.display_precision, euro.pip_location, euro.units_precision) == (5, -4, 0)
        assert (yen.display_precision, yen.pip_location) == (3, -2)
        assert 0 < euro.margin_rate <= 1 and euro.minimum_units == 1 and euro.maximum_order_units > 10**6

    async def test_open_and_close_long(self, venue: Venue, broker: Broker) -> None:
        accepted, filled = await broker.submit(market("long-1", 1000, strategy="s", decision_id="d"))
        assert isinstance(accepted, OrderAccepted) and isinstance(filled, OrderFilled)
        assert (accepted.client_order_id, accepted.units, accepted.order_type) == ("long-1", 1000, OrderType.MARKET)
        assert accepted.transaction_id < filled.transaction_id
        assert filled.fill.broker_order_id == accepted.broker_order_id
        assert (filled.fill.client_order_id, filled.fill.instrument) == ("long-1", "EUR_USD")
        assert (filled.fill.units, filled.fill.price) == (Decimal(1000), Decimal("1.10010"))
        assert filled.fill.realised_profit == 0 and filled.fill.time_ns > 0
        position = (await broker.positions())["EUR_USD"]
        assert (position.units, position.average_price) == (Decimal(1000), Decimal("1.10010"))
        await venue.quote("EUR_USD", "1.11010", "1.11020")
        (closed,) = fills(await broker.close_position("EUR_USD", Decimal(1000), "close-1"))
        assert (closed.fill.units, closed.fill.price) == (Decimal(-1000), Decimal("1.11010"))
        assert closed.fill.realised_profit == Decimal("10") and closed.fill.client_order_id == "close-1"
        state = await broker.account()
        assert state.balance == Decimal(100_010) == closed.fill.account_balance
        assert await broker.positions() == {}

    async def test_open_and_close_short(self, venue: Venue, broker: Broker) -> None:
        (opened,) = fills(await broker.submit(market("short-1", -1000)))
        assert (opened.fill.units, opened.fill.price) == (Decimal(-1000), Decimal("1.10000"))
        assert await self.units(broker) == -1000
        await venue.quote("EUR_USD", "1.10990", "1.11000")
        (closed,) = fills(await broker.submit(market("short-2", 1000)))
        assert closed.fill.price == Decimal("1.11") and closed.fill.realised_profit == Decimal(-10)
        assert (await broker.account()).balance == Decimal(99_990)
        assert await self.units(broker) == 0

    async def test_part_of_a_position_is_closed(self, broker: Broker) -> None:
        await broker.submit(market("part-1", 1000))
        (closed,) = fills(await broker.close_position("EUR_USD", Decimal(400), "part-2"))
        assert closed.fill.units == -400
        assert await self.units(broker) == 600

    async def test_crossing_zero_opens_the_other_side(self, broker: Broker) -> None:
        await broker.submit(market("cross-1", 1000))
        crossed = fills(await broker.submit(market("cross-2", -2500)))
        assert sum(event.fill.units for event in crossed) == -2500
        position = (await broker.positions())["EUR_USD"]
        assert (position.units, position.average_price) == (Decimal(-1500), Decimal("1.10000"))

    async def test_closing_never_opens_the_other_side(self, broker: Broker) -> None:
        (nothing,) = await broker.close_position("EUR_USD", Decimal(10), "none-1")
        assert isinstance(nothing, OrderRejected) and nothing.reject_reason is RejectReason.BROKER_INVALID_UNITS
        await broker.submit(market("over-1", 100))
        assert fills(await broker.close_position("EUR_USD", Decimal(200), "over-2")) == []
        assert await self.units(broker) == 100
        for event in fills(await broker.submit(market("over-3", 50, reduce_only=True))):
            assert event.fill.units <= 0
        assert await self.units(broker) == 100

    async def test_a_profit_in_another_currency_is_converted(self, venue: Venue, broker: Broker) -> None:
        await broker.submit(OrderRequest("yen-1", "USD_JPY", Decimal(1000)))
        await venue.quote("USD_JPY", "160.010", "160.020")
        (closed,) = fills(await broker.close_position("USD_JPY", Decimal(1000), "yen-2"))
        assert closed.fill.price == Decimal("160.010")
        assert abs(closed.fill.realised_profit - Decimal(10_000) / Decimal("160.02")) < Decimal("0.01")

    async def test_attached_stop_loss_fills(self, venue: Venue, broker: Broker) -> None:
        stream = broker.events((await broker.account()).last_transaction_id)
        await broker.submit(market("stop-1", 1000, stop_loss_price=Decimal("1.09"), take_profit_price=Decimal("1.12")))
        stop_id = attached_order_id("stop-1", OrderType.STOP_LOSS)
        target_id = attached_order_id("stop-1", OrderType.TAKE_PROFIT)
        orders = {order.client_order_id: order for order in await broker.open_orders()}
        assert set(orders) == {stop_id, target_id}
        stop = orders[stop_id]
        assert (stop.instrument, stop.order_type, stop.price, stop.units) == (
            "EUR_USD",
            "STOP_LOSS",
            Decimal("1.09"),
            Decimal(-1000),
        )
        assert stop.trade_id
        await venue.quote("EUR_USD", "1.08990", "1.09000")
        filled = await until_fill(stream, stop_id)
        assert filled.fill.reason == "STOP_LOSS_ORDER"
        assert (filled.fill.units, filled.fill.price) == (Decimal(-1000), Decimal("1.08990"))
        assert await broker.positions() == {} and await broker.open_orders() == []

    async def test_attached_take_profit_and_trailing_stop(self, venue: Venue, broker: Broker) -> None:
        stream = broker.events((await broker.account()).last_transaction_id)
        await broker.submit(market("target-1", -1000, take_profit_price=Decimal("1.09")))
        await venue.quote("EUR_USD", "1.08980", "1.08990")
        target = await until_fill(stream, attached_order_id("target-1", OrderType.TAKE_PROFIT))
        assert target.fill.reason == "TAKE_PROFIT_ORDER" and target.fill.units == 1000
        await broker.submit(market("trail-1", 1000, trailing_stop_distance=Decimal("0.005")))
        await venue.quote("EUR_USD", "1.10000", "1.10010")
        await venue.quote("EUR_USD", "1.09480", "1.09490")
        trailing = await until_fill(stream, attached_order_id("trail-1", OrderType.TRAILING_STOP_LOSS))
        assert trailing.fill.reason == "TRAILING_STOP_LOSS_ORDER" and trailing.fill.price == Decimal("1.09480")
        assert await broker.positions() == {}

    async def test_attached_stop_is_amended(self, broker: Broker) -> None:
        await broker.submit(market("move-1", 1000, stop_loss_price=Decimal("1.09")))
        stop_id = attached_order_id("move-1", OrderType.STOP_LOSS)
        moved = OrderRequest(
            "move-2", "EUR_USD", Decimal(-1000), OrderType.STOP_LOSS, TimeInForce.GTC, price=Decimal("1.095")
        )
        events = await broker.amend(stop_id, moved)
        assert any(isinstance(event, OrderCancelled) for event in events), events
        (order,) = await broker.open_orders()
        assert (order.client_order_id, order.price) == ("move-2", Decimal("1.095"))

    async def test_limit_order_rests_and_is_cancelled(self, broker: Broker) -> None:
        (accepted,) = await broker.submit(limit("limit-1", 1000, "1.05"))
        assert isinstance(accepted, OrderAccepted)
        assert (accepted.order_type, accepted.price) == (OrderType.LIMIT, Decimal("1.05"))
        (order,) = await broker.open_orders()
        assert (order.client_order_id, order.broker_order_id) == ("limit-1", accepted.broker_order_id)
        assert (order.instrument, order.units, order.order_type) == ("EUR_USD", Decimal(1000), "LIMIT")
        (cancelled,) = await broker.cancel("limit-1")
        assert isinstance(cancelled, OrderCancelled)
        assert (cancelled.client_order_id, cancelled.broker_order_id) == ("limit-1", accepted.broker_order_id)
        assert (cancelled.reason, cancelled.reject_reason) == ("CLIENT_REQUEST", None)
        assert await broker.open_orders() == []

    async def test_cancel_of_an_order_that_is_not_open(self, broker: Broker) -> None:
        await broker.submit(market("gone-1", 100))
        for name in ("gone-1", "never-sent"):
            (refused,) = await broker.cancel(name)
            assert isinstance(refused, OrderRejected)
            assert (refused.client_order_id, refused.reject_reason) == (name, RejectReason.BROKER_UNKNOWN_ORDER)
        (refused,) = await broker.amend("never-sent", limit("never-sent-2", 1, "1.05"))
        assert isinstance(refused, OrderRejected) and refused.reject_reason is RejectReason.BROKER_UNKNOWN_ORDER

    async def test_limit_order_is_amended_then_cancelled(self, broker: Broker) -> None:
        (first,) = await broker.submit(limit("amend-1", 1000, "1.05"))
        assert isinstance(first, OrderAccepted)
        events = await broker.amend("amend-1", limit("amend-2", 2000, "1.06"))
        cancelled = next(event for event in events if isinstance(event, OrderCancelled))
        accepted = next(event for event in events if isinstance(event, OrderAccepted))
        assert (cancelled.client_order_id, cancelled.replaced_by) == ("amend-1", accepted.broker_order_id)
        assert (accepted.client_order_id, accepted.replaces) == ("amend-2", first.broker_order_id)
        assert cancelled.reject_reason is None
        (order,) = await broker.open_orders()
        assert (order.client_order_id, order.units, order.price) == ("amend-2", Decimal(2000), Decimal("1.06"))
        refused = (await broker.amend("amend-2", limit("amend-3", 2000, "1.0600001")))[0]
        assert isinstance(refused, OrderRejected) and refused.reject_reason is RejectReason.BROKER_INVALID_PRICE
        assert [order.client_order_id for order in await broker.open_orders()] == ["amend-2"]
        assert isinstance((await broker.cancel("amend-2"))[0], OrderCancelled)

    async def test_limit_order_fills_when_the_market_comes(self, venue: Venue, broker: Broker) -> None:
        stream = broker.events((await broker.account()).last_transaction_id)
        await broker.submit(limit("rest-1", 1000, "1.09"))
        await venue.quote("EUR_USD", "1.08980", "1.08990")
        filled = await until_fill(stream, "rest-1")
        assert filled.fill.reason == "LIMIT_ORDER" and filled.fill.units == 1000
        assert filled.fill.price <= Decimal("1.09")
        assert await self.units(broker) == 1000

    async def test_stop_entry_fills_when_the_market_goes_through(self, venue: Venue, broker: Broker) -> None:
        stream = broker.events((await broker.account()).last_transaction_id)
        order = OrderRequest("entry-1", "EUR_USD", Decimal(500), OrderType.STOP, TimeInForce.GTC, price=Decimal("1.12"))
        await broker.submit(order)
        await venue.quote("EUR_USD", "1.12010", "1.12020")
        assert (await until_fill(stream, "entry-1")).fill.price == Decimal("1.12020")

    @pytest.mark.parametrize(
        ("order", "reason"),
        [
            (market("r", 0), RejectReason.BROKER_INVALID_UNITS),
            (market("r", "1.5"), RejectReason.BROKER_INVALID_UNITS),
            (market("r", 10**10), RejectReason.BROKER_INVALID_UNITS),
            (limit("r", 100, "1.0500001"), RejectReason.BROKER_INVALID_PRICE),
            (limit("r", 100, "-1"), RejectReason.BROKER_INVALID_PRICE),
            (market("r", 100, stop_loss_price=Decimal("1.0900001")), RejectReason.BROKER_INVALID_PRICE),
            (market("r", 5_000_000), RejectReason.BROKER_INSUFFICIENT_MARGIN),
            (market("r", 100, price_bound=Decimal("1.10005")), RejectReason.BROKER_BOUNDS_VIOLATION),
            (market("r", 100, stop_loss_price=Decimal("1.2")), RejectReason.BROKER_INVALID_PRICE),
            (OrderRequest("r", "XXX_YYY", Decimal(100)), RejectReason.UNKNOWN_INSTRUMENT),
            (market("r", 100, price_bound=Decimal("1.1000500")), RejectReason.BROKER_BOUNDS_VIOLATION),
            (market("r", 100, price_bound=Decimal("1.1000501")), RejectReason.BROKER_BOUNDS_VIOLATION),
            (market("r", 100, take_profit_price=Decimal("1.0")), RejectReason.BROKER_INVALID_PRICE),
            (market("r", 100, take_profit_price=Decimal("-1")), RejectReason.BROKER_INVALID_PRICE),
            (market("r", 100, trailing_stop_distance=Decimal("0.00001")), RejectReason.BROKER_INVALID_PRICE),
            (market("r", -100, reduce_only=True), RejectReason.BROKER_OTHER),
            (resting("r", 100, "1.05", time_in_force=TimeInForce.GTD, good_till_ns=1), RejectReason.BROKER_OTHER),
            (resting("r", 100, "1.05", time_in_force=TimeInForce.GTD), RejectReason.BROKER_OTHER),
        ],
    )
    async def test_what_cannot_be_done_is_refused_with_its_reason(
        self, broker: Broker, order: OrderRequest, reason: RejectReason
    ) -> None:
        events = await broker.submit(order)
        last = events[-1]
        assert isinstance(last, OrderRejected | OrderCancelled)
        assert last.reject_reason is reason and last.client_order_id == "r"
        assert fills(events) == [] and await broker.positions() == {} and await broker.open_orders() == []

    async def test_duplicate_client_id_is_refused(self, broker: Broker) -> None:
        await broker.submit(limit("twice", 1000, "1.05"))
        last = (await broker.submit(limit("twice", 1000, "1.05")))[-1]
        assert isinstance(last, OrderRejected) and last.reject_reason is RejectReason.BROKER_DUPLICATE_ID
        assert len(await broker.open_orders()) == 1

    async def test_halted_market_takes_no_market_order(self, venue: Venue, broker: Broker) -> None:
        await venue.halt("EUR_USD")
        last = (await broker.submit(market("halted", 100)))[-1]
        assert isinstance(last, OrderRejected | OrderCancelled)
        assert last.reject_reason is RejectReason.BROKER_MARKET_HALTED
        assert await broker.positions() == {}

    async def test_transactions_are_complete_ordered_and_the_same_everywhere(
        self, venue: Venue, broker: Broker
    ) -> None:
        start = (await broker.account()).last_transaction_id
        stream = broker.events(start)
        replied: dict[int, BrokerEvent] = {}
        for events in (
            await broker.submit(market("all-1", 1000, stop_loss_price=Decimal("1.09"))),
            await broker.submit(limit("all-2", 500, "1.08")),
            await broker.submit(market("all-3", "1.5")),
            await broker.cancel("all-2"),
        ):
            replied |= {event.transaction_id: event for event in events if event.transaction_id}
        await venue.quote("EUR_USD", "1.08900", "1.08910")
        history = await broker.transactions_since(start)
        last = (await broker.account()).last_transaction_id
        assert [event.transaction_id for event in history] == list(range(start + 1, last + 1))
        by_id = {event.transaction_id: event for event in history}
        assert {number: by_id[number] for number in replied} == replied
        assert await take(stream, len(history)) == history
        middle = history[len(history) // 2].transaction_id
        assert await broker.transactions_since(middle) == [e for e in history if e.transaction_id > middle]
        assert await broker.transactions_since(last) == []

    async def test_late_reader_gets_what_it_missed(self, broker: Broker) -> None:
        start = (await broker.account()).last_transaction_id
        await broker.submit(market("late-1", 100))
        events = await take(broker.events(start), 2)
        assert [client_id(event) for event in events] == ["late-1", "late-1"]

    async def test_outcome_of_an_order_can_be_asked_for(self, broker: Broker) -> None:
        start = (await broker.account()).last_transaction_id
        sent = await broker.submit(market("ask-1", 100))
        await broker.submit(market("ask-2", 100))
        assert await broker.resolve("ask-1", start) == sent
        assert await broker.resolve("ask-1") == sent
        assert await broker.resolve("never-sent", start) == []

    async def test_quotes_start_with_the_standing_ones_and_go_on_in_order(self, venue: Venue, broker: Broker) -> None:
        stream = broker.quotes(["EUR_USD", "USD_JPY"])
        await broker.quotes_ready()
        prices = ["1.10100", "1.10200", "1.10150"]
        for bid in prices:
            await venue.quote("EUR_USD", bid, f"{Decimal(bid) + Decimal('0.0001'):f}")
        seen: dict[str, list[Quote]] = {"EUR_USD": [], "USD_JPY": []}
        times: list[int] = []
        while len(seen["EUR_USD"]) < 4 or not seen["USD_JPY"]:
            (item,) = await take(stream, 1)
            if isinstance(item, Quote):
                seen[item.instrument].append(item)
                times.append(item.time_ns)
            else:
                assert isinstance(item, Heartbeat)
        euro = seen["EUR_USD"]
        assert [quote.bid for quote in euro] == [1.1, 1.101, 1.102, 1.1015]
        assert (seen["USD_JPY"][0].bid, seen["USD_JPY"][0].ask) == (150.0, 150.01)
        assert all(quote.tradeable and quote.arrival_ns > 0 for quote in euro)
        assert [quote.time_ns for quote in euro] == sorted(quote.time_ns for quote in euro)

    async def test_only_subscribed_instruments_are_quoted(self, venue: Venue, broker: Broker) -> None:
        stream = broker.quotes(["EUR_USD"])
        await broker.quotes_ready()
        await venue.quote("USD_JPY", "151.000", "151.010")
        await venue.quote("EUR_USD", "1.10100", "1.10110")
        names = []
        while len(names) < 2:
            (item,) = await take(stream, 1)
            names += [item.instrument] if isinstance(item, Quote) else []
        assert names == ["EUR_USD", "EUR_USD"]

    async def test_candles_are_complete_bars_in_order(self, venue: Venue, broker: Broker) -> None:
        for bid in ("1.10100", "1.10300", "1.10200"):
            await venue.quote("EUR_USD", bid, f"{Decimal(bid) + Decimal('0.0001'):f}")
        (filled,) = fills(await broker.submit(market("now-1", 1)))
        now = filled.time_ns  # the market's own time
        bars = await broker.candles("EUR_USD", 60, now - HOUR_NS, now)
        assert [bar.open_time_ns for bar in bars] == sorted({bar.open_time_ns for bar in bars})
        for bar in bars:
            assert bar.instrument == "EUR_USD" and bar.close_time_ns - bar.open_time_ns == 60 * 10**9
            assert bar.bid_low <= bar.bid_close <= bar.bid_high and bar.bid_close <= bar.ask_close

    async def test_close_ends_the_streams_and_keeps_the_position(self, broker: Broker) -> None:
        await broker.submit(market("keep-1", 100))
        quotes, events = broker.quotes(["EUR_USD"]), broker.events((await broker.account()).last_transaction_id)
        await broker.quotes_ready()
        await broker.close()

        async def drain(stream: AsyncIterator[object]) -> None:
            async for _ in stream:
                pass

        await asyncio.wait_for(drain(quotes), WAIT_SECONDS)
        await asyncio.wait_for(drain(events), WAIT_SECONDS)


class RemoteBrokerContract(BrokerContract, NetworkInterruptionContract):
    """What is more to be done where a network lies in between."""

    async def test_cut_streams_lose_and_double_nothing(self, venue: RemoteVenue, broker: Broker) -> None:
        start = (await broker.account()).last_transaction_id
        events, quotes = broker.events(start), broker.quotes(["EUR_USD"])
        await broker.quotes_ready()
        await broker.submit(market("cut-1", 100))
        await take(events, 2)
        await venue.cut_streams()
        await broker.submit(market("cut-2", 100))
        await broker.submit(market("cut-3", 100))
        seen = [event.transaction_id for event in await take(events, 4)]
        await venue.cut_streams()
        await broker.submit(market("cut-4", 100))
        seen += [event.transaction_id for event in await take(events, 2)]
        last = (await broker.account()).last_transaction_id
        assert seen == list(range(start + 3, last + 1))
        await venue.quote("EUR_USD", "1.20000", "1.20010")
        while True:
            (item,) = await take(quotes, 1)
            if isinstance(item, Quote) and item.bid == 1.2:
                break

    async def test_wrong_token_is_a_clear_error(self, venue: RemoteVenue) -> None:
        broker = venue.with_credentials(token="not-the-token")
        with pytest.raises(ConfigurationError) as caught:
            await broker.connect()
        assert "not-the-token" not in caught.value.message
        await broker.close()

    async def test_wrong_account_is_a_clear_error(self, venue: RemoteVenue) -> None:
        broker = venue.with_credentials(account_id="101-001-0000000-999")
        with pytest.raises(ConfigurationError) as caught:
            await broker.connect()
        assert "101-001-0000000-999" not in caught.value.message
        await broker.close()

    async def test_closed_connection_sends_nothing(self, broker: Broker) -> None:
        await broker.close()
        with pytest.raises(UnavailableError):
            await broker.submit(market("closed-1", 100))
