"""The contract's order types: every type with every time in force, bounds, expiry, partial fills, attached orders."""

from decimal import Decimal

import pytest
from broker_venue import Venue, client_id, fills, limit, market, net_units, resting, take, until_fill
from contract_base import ContractBase

from core.domain import (
    BrokerEvent,
    OrderAccepted,
    OrderCancelled,
    OrderRejected,
    OrderRequest,
    OrderType,
    RejectReason,
    TimeInForce,
)
from trading.brokers.interface import Broker, attached_order_id

SECOND_NS = 1_000_000_000
ENTRIES = (OrderType.LIMIT, OrderType.STOP, OrderType.MARKET_IF_TOUCHED)
AWAY = {OrderType.LIMIT: "1.09", OrderType.STOP: "1.12", OrderType.MARKET_IF_TOUCHED: "1.09"}  # for a buy
REACHED = {
    OrderType.LIMIT: ("1.08980", "1.08990"),
    OrderType.STOP: ("1.12010", "1.12020"),
    OrderType.MARKET_IF_TOUCHED: ("1.08980", "1.08990"),
}


async def last_transaction(broker: Broker) -> int:
    return (await broker.account()).last_transaction_id


def cancelled(events: list[BrokerEvent]) -> OrderCancelled:
    (event,) = (event for event in events if isinstance(event, OrderCancelled))
    return event


class OrderTypeContract(ContractBase):
    @pytest.mark.parametrize("time_in_force", list(TimeInForce))
    @pytest.mark.parametrize("order_type", [OrderType.MARKET, *ENTRIES])
    async def test_every_type_with_every_time_in_force(
        self, venue: Venue, order_type: OrderType, time_in_force: TimeInForce
    ) -> None:
        broker = venue.broker
        price = None if order_type is OrderType.MARKET else Decimal(AWAY[order_type])
        good_till = venue.time_ns + 3600 * SECOND_NS if time_in_force is TimeInForce.GTD else None
        order = OrderRequest(
            "any", "EUR_USD", Decimal(100), order_type, time_in_force, price=price, good_till_ns=good_till
        )
        start = await last_transaction(broker)
        stream = broker.events(start)
        events = await broker.submit(order)
        if time_in_force not in self.capabilities.times_in_force.get(order_type, ()):
            (refused,) = events
            assert isinstance(refused, OrderRejected) and refused.client_order_id == "any"
            assert await broker.open_orders() == [] and await broker.positions() == {}
            return
        accepted = events[0]
        assert isinstance(accepted, OrderAccepted)
        assert (accepted.order_type, accepted.units, accepted.price) == (order_type, 100, price)
        if order_type is OrderType.MARKET:
            assert len(fills(events)) == 1
            return
        if time_in_force in (TimeInForce.FOK, TimeInForce.IOC):
            assert fills(events) == [] and cancelled(events).client_order_id == "any"
            assert await broker.open_orders() == []
            return
        (standing,) = await broker.open_orders()
        assert (standing.client_order_id, standing.order_type, standing.price) == ("any", order_type.value, price)
        await venue.quote("EUR_USD", *REACHED[order_type])
        filled = await until_fill(stream, "any")
        assert filled.fill.reason == f"{order_type}_ORDER" and filled.fill.units == 100
        assert filled.fill.price == Decimal(REACHED[order_type][1])
        assert await net_units(broker) == 100 and await broker.open_orders() == []

    @pytest.mark.parametrize("order_type", ENTRIES)
    async def test_selling_is_the_mirror_of_buying(self, venue: Venue, order_type: OrderType) -> None:
        away = {OrderType.LIMIT: "1.11", OrderType.STOP: "1.08", OrderType.MARKET_IF_TOUCHED: "1.11"}[order_type]
        reached = ("1.11010", "1.11020") if away == "1.11" else ("1.07980", "1.07990")
        stream = venue.broker.events(await last_transaction(venue.broker))
        await venue.broker.submit(resting("sells", -100, away, order_type))
        await venue.quote("EUR_USD", *reached)
        filled = await until_fill(stream, "sells")
        assert (filled.fill.units, filled.fill.price) == (Decimal(-100), Decimal(reached[0]))

    @pytest.mark.parametrize("order_type", ENTRIES)
    async def test_order_expires_at_its_time(self, venue: Venue, order_type: OrderType) -> None:
        broker = venue.broker
        stream = broker.events(await last_transaction(broker))
        order = resting(
            "expires",
            100,
            AWAY[order_type],
            order_type,
            TimeInForce.GTD,
            good_till_ns=venue.time_ns + 60 * SECOND_NS,
        )
        await broker.submit(order)
        await venue.pass_time(30)
        assert [standing.client_order_id for standing in await broker.open_orders()] == ["expires"]
        await venue.pass_time(60)
        accepted, expired = await take(stream, 2)
        assert isinstance(accepted, OrderAccepted) and isinstance(expired, OrderCancelled)
        assert (expired.client_order_id, expired.reason, expired.reject_reason) == (
            "expires",
            "TIME_IN_FORCE_EXPIRED",
            None,
        )
        assert expired.time_ns == order.good_till_ns
        assert await broker.open_orders() == []
        await venue.quote("EUR_USD", *REACHED[order_type])
        assert await broker.positions() == {}

    @pytest.mark.parametrize("order_type", [OrderType.MARKET, OrderType.STOP, OrderType.MARKET_IF_TOUCHED])
    @pytest.mark.parametrize("inside", [True, False])
    async def test_price_bound_is_kept(self, venue: Venue, order_type: OrderType, inside: bool) -> None:
        self.need(order_type in self.capabilities.price_bounds, f"price bounds on {order_type} orders")
        broker = venue.broker
        stream = broker.events(await last_transaction(broker))
        if order_type is OrderType.MARKET:
            events = await broker.submit(market("bound", 100, price_bound=Decimal("1.1001" if inside else "1.10009")))
        else:
            ask = Decimal(REACHED[order_type][1])
            bound = ask if inside else ask - Decimal("0.00001")
            await broker.submit(resting("bound", 100, AWAY[order_type], order_type, price_bound=bound))
            await venue.quote("EUR_USD", *REACHED[order_type])
            events = await take(stream, 2)
        assert [client_id(event) for event in events] == ["bound", "bound"]
        if inside:
            assert len(fills(events)) == 1 and await net_units(broker) == 100
        else:
            assert cancelled(events).reject_reason is RejectReason.BROKER_BOUNDS_VIOLATION
            assert await broker.positions() == {} and await broker.open_orders() == []

    async def test_what_is_there_is_taken_and_no_more(self, venue: Venue) -> None:
        self.need(self.capabilities.bounded_liquidity, "a venue whose liquidity can be bounded")
        broker = venue.broker
        await venue.bound_liquidity(600)
        (part,) = fills(await broker.submit(market("ioc", 1000, time_in_force=TimeInForce.IOC)))
        assert part.fill.units == 600
        await venue.quote("EUR_USD", "1.10000", "1.10010")
        nothing = await broker.submit(market("fok", 1000))
        assert fills(nothing) == [] and cancelled(nothing).reject_reason is RejectReason.BROKER_OTHER
        assert await net_units(broker) == 600 and await broker.open_orders() == []

    async def test_resting_order_is_filled_in_parts_and_the_rest_is_cancelled(self, venue: Venue) -> None:
        self.need(self.capabilities.bounded_liquidity, "a venue whose liquidity can be bounded")
        broker = venue.broker
        stream = broker.events(await last_transaction(broker))
        await broker.submit(limit("parts", 1000, "1.09"))
        await venue.bound_liquidity(400)
        await venue.quote("EUR_USD", "1.08980", "1.08990")
        first = await until_fill(stream, "parts")
        await venue.quote("EUR_USD", "1.08970", "1.08980")
        second = await until_fill(stream, "parts")
        assert (first.fill.units, second.fill.units) == (400, 400)
        assert first.fill.broker_order_id == second.fill.broker_order_id
        assert [order.client_order_id for order in await broker.open_orders()] == ["parts"]
        assert cancelled(await broker.cancel("parts")).client_order_id == "parts"
        await venue.quote("EUR_USD", "1.08960", "1.08970")
        assert await net_units(broker) == 800 and await broker.open_orders() == []

    @pytest.mark.parametrize(
        ("reached", "first", "other"),
        [
            (("1.08990", "1.09000"), OrderType.STOP_LOSS, OrderType.TAKE_PROFIT),
            (("1.12010", "1.12020"), OrderType.TAKE_PROFIT, OrderType.STOP_LOSS),
        ],
    )
    async def test_one_of_a_bracket_cancels_the_other(
        self, venue: Venue, reached: tuple[str, str], first: OrderType, other: OrderType
    ) -> None:
        self.need({first, other} <= self.capabilities.attached, "attached stops and targets")
        broker = venue.broker
        await broker.submit(market("oco", 1000, stop_loss_price=Decimal("1.09"), take_profit_price=Decimal("1.12")))
        stream = broker.events(await last_transaction(broker))
        await venue.quote("EUR_USD", *reached)
        done = await until_fill(stream, attached_order_id("oco", first))
        (gone,) = await take(stream, 1)
        assert done.fill.units == -1000 and isinstance(gone, OrderCancelled)
        assert (gone.client_order_id, gone.reject_reason) == (attached_order_id("oco", other), None)
        await venue.quote("EUR_USD", "1.05000", "1.05010")
        await venue.quote("EUR_USD", "1.15000", "1.15010")
        assert await broker.positions() == {} and await broker.open_orders() == []

    async def test_trailing_stop_follows_and_never_turns_back(self, venue: Venue) -> None:
        self.need(OrderType.TRAILING_STOP_LOSS in self.capabilities.attached, "trailing stops")
        broker = venue.broker
        await broker.submit(market("trail", 1000, trailing_stop_distance=Decimal("0.005")))
        stream = broker.events(await last_transaction(broker))
        for bid in ("1.10300", "1.10600", "1.10200"):  # the stop stands at 1.101 now
            await venue.quote("EUR_USD", bid, f"{Decimal(bid) + Decimal('0.0001'):f}")
        assert await net_units(broker) == 1000
        await venue.quote("EUR_USD", "1.10090", "1.10100")
        filled = await until_fill(stream, attached_order_id("trail", OrderType.TRAILING_STOP_LOSS))
        assert filled.fill.price == Decimal("1.10090") and await broker.positions() == {}

    async def test_entry_order_brings_its_bracket_along(self, venue: Venue) -> None:
        self.need(OrderType.STOP_LOSS in self.capabilities.attached, "attached stops and targets")
        broker = venue.broker
        stream = broker.events(await last_transaction(broker))
        await broker.submit(resting("entry", 500, "1.09", stop_loss_price=Decimal("1.08")))
        assert [order.client_order_id for order in await broker.open_orders()] == ["entry"]
        await venue.quote("EUR_USD", "1.08980", "1.08990")
        filled = await until_fill(stream, "entry")
        (attached,) = await take(stream, 1)
        assert isinstance(attached, OrderAccepted) and attached.trade_id == filled.fill.opened_trade
        (stop,) = await broker.open_orders()
        assert (stop.client_order_id, stop.units, stop.trade_id) == (
            attached_order_id("entry", OrderType.STOP_LOSS),
            -500,
            filled.fill.opened_trade,
        )
