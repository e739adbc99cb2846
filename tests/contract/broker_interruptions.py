"""The contract's interruptions: every operation, struck by the loss of streams, replies, requests, broker, adapter.

Each test deals with the broker as the trader does: a lost outcome is asked for, nothing is sent again by assumption.
Whatever happened, the account must look as if nothing had, and every transaction must arrive once and in order.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from broker_operations import BRACKET, OPERATIONS, STOP_ID, TARGET_ID, Operation
from broker_venue import WAIT_SECONDS, RemoteVenue, Venue, client_id, fills, limit, net_units, take, until_fill
from contract_base import ContractBase

from core.domain import BrokerEvent, OrderAccepted, OrderCancelled
from core.errors import OutcomeUnknownError, UnavailableError
from trading.brokers.interface import Broker

every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
_BY_NAME = {operation.name: operation for operation in OPERATIONS}


async def last_transaction(broker: Broker) -> int:
    return (await broker.account()).last_transaction_id


async def carry_out(venue: Venue, operation: Operation, start: int, sent: bool = False) -> None:
    """Send the operation until it is known to have happened; ask before each further try."""
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            try:
                if sent and operation.happened(await venue.broker.resolve(operation.key, start)):
                    return
                sent = True
                await operation.request(venue.broker)
                return
            except OutcomeUnknownError:
                continue
            except UnavailableError:
                await asyncio.sleep(0.05)


async def check(broker: Broker, operation: Operation, start: int, events: AsyncIterator[BrokerEvent]) -> None:
    """Compare the account and its history, read three ways, with what the operation should leave behind."""
    assert await net_units(broker) == operation.units
    assert {order.client_order_id for order in await broker.open_orders()} == operation.orders
    history = await broker.transactions_since(start)
    assert [event.transaction_id for event in history] == list(range(start + 1, await last_transaction(broker) + 1))
    assert len([fill for fill in fills(history) if fill.fill.client_order_id == operation.key]) == operation.fills
    assert await take(events, len(history)) == history
    after = await broker.submit(limit("after", 1, "1.01"))
    assert await take(events, 1) == after  # nothing came twice in between


class InterruptionContract(ContractBase):
    """Restarts, which every adapter must survive."""

    async def begin(self, venue: Venue, operation: Operation) -> int:
        if operation.name == "partial fill":
            self.need(self.capabilities.bounded_liquidity, "a venue whose liquidity can be bounded")
        await operation.before(venue)
        return await last_transaction(venue.broker)

    @every_operation
    async def test_restart_of_the_adapter_during(self, venue: Venue, operation: Operation) -> None:
        self.need(self.capabilities.adapter_restart, "an adapter that goes on after a restart")
        start = await self.begin(venue, operation)
        request = asyncio.ensure_future(operation.request(venue.broker))
        await asyncio.sleep(0)  # it is on its way; its reply is never read
        request.cancel()
        await venue.restart_adapter()
        await asyncio.gather(request, return_exceptions=True)
        await carry_out(venue, operation, start, sent=True)
        await check(venue.broker, operation, start, venue.broker.events(start))

    async def test_bracket_protects_after_a_restart_of_the_adapter(self, venue: Venue) -> None:
        self.need(self.capabilities.adapter_restart, "an adapter that goes on after a restart")
        await venue.broker.submit(BRACKET)
        start = await last_transaction(venue.broker)
        await venue.restart_adapter()
        await self.stop_fills_and_target_goes(venue, start)

    async def stop_fills_and_target_goes(self, venue: Venue, start: int) -> None:
        """The stop is executed and takes the target with it: one cancels the other."""
        events = venue.broker.events(start)
        stop = next(order for order in await venue.broker.open_orders() if order.client_order_id == STOP_ID)
        assert (stop.instrument, stop.units) == ("EUR_USD", -1000)
        await venue.quote("EUR_USD", "1.08990", "1.09000")
        filled = await until_fill(events, STOP_ID)
        assert filled.fill.units == -1000
        assert [closing.units for closing in filled.fill.closed_trades] == [-1000]
        (gone,) = await take(events, 1)
        assert isinstance(gone, OrderCancelled)
        assert (gone.client_order_id, gone.reject_reason) == (TARGET_ID, None)
        assert await venue.broker.positions() == {} and await venue.broker.open_orders() == []


class NetworkInterruptionContract(InterruptionContract):
    """What is more to be survived where a network lies in between."""

    @every_operation
    async def test_loss_of_streams_during(self, venue: RemoteVenue, operation: Operation) -> None:
        start = await self.begin(venue, operation)
        events = venue.broker.events(start)
        await venue.cut_streams()
        await asyncio.gather(carry_out(venue, operation, start), venue.cut_streams())
        await check(venue.broker, operation, start, events)

    @every_operation
    async def test_restart_of_the_broker_during(self, venue: RemoteVenue, operation: Operation) -> None:
        self.need(self.capabilities.broker_restart, "a broker that can be restarted")
        start = await self.begin(venue, operation)
        events = venue.broker.events(start)
        await asyncio.gather(venue.restart_broker(), carry_out(venue, operation, start))
        await check(venue.broker, operation, start, events)

    async def test_bracket_protects_after_a_restart_of_the_broker(self, venue: RemoteVenue) -> None:
        self.need(self.capabilities.broker_restart, "a broker that can be restarted")
        await venue.broker.submit(BRACKET)
        start = await last_transaction(venue.broker)
        await venue.restart_broker()
        await self.stop_fills_and_target_goes(venue, start)

    @pytest.mark.parametrize("name", ["open long", "cancel", "amend"])
    async def test_lost_reply_is_unknown_then_resolved(self, venue: RemoteVenue, name: str) -> None:
        operation = _BY_NAME[name]
        start = await self.begin(venue, operation)
        await venue.lose_next_reply("submit" if name == "open long" else "cancel" if name == "cancel" else "amend")
        with pytest.raises(OutcomeUnknownError):
            await operation.request(venue.broker)
        events = await venue.broker.resolve(operation.key, start)
        assert operation.happened(events)
        history = await venue.broker.transactions_since(start)
        assert events == [event for event in history if client_id(event) == operation.key]
        if name == "amend":
            accepted = next(event for event in events if isinstance(event, OrderAccepted))
            (gone,) = (event for event in await venue.broker.resolve("rests") if isinstance(event, OrderCancelled))
            assert gone.replaced_by == accepted.broker_order_id
        await check(venue.broker, operation, start, venue.broker.events(start))

    @pytest.mark.parametrize("name", ["open long", "cancel", "amend"])
    async def test_lost_request_changed_nothing(self, venue: RemoteVenue, name: str) -> None:
        operation = _BY_NAME[name]
        start = await self.begin(venue, operation)
        before = await venue.broker.open_orders()
        await venue.lose_next_request("submit" if name == "open long" else "cancel" if name == "cancel" else "amend")
        with pytest.raises(OutcomeUnknownError):
            await operation.request(venue.broker)
        assert not operation.happened(await venue.broker.resolve(operation.key, start))
        assert await venue.broker.transactions_since(start) == []
        assert await venue.broker.open_orders() == before and await venue.broker.positions() == {}
        await carry_out(venue, operation, start, sent=True)
        await check(venue.broker, operation, start, venue.broker.events(start))
