"""The contract, by the OANDA adapter over real HTTP on a practice broker."""

from pathlib import Path
from typing import ClassVar

import pytest
from broker_contract import RemoteBrokerContract
from broker_venue import fills, market, take
from practice_venue import START_NS, PracticeContractVenue, PracticeServer, SteppedFeed

from core.domain import Heartbeat, Quote
from core.errors import RateLimitedError
from trading.feeds.lockstep import LockstepClock, LockstepFeed


class TestOandaContract(RemoteBrokerContract):
    broker_name: ClassVar[str] = "oanda"

    async def make_venue(self, folder: Path, **rules: bool) -> PracticeContractVenue:
        venue = PracticeContractVenue(PracticeServer(folder=folder, **rules))
        await venue.broker.connect()
        return venue

    async def test_doubled_events_arrive_once(self, venue: PracticeContractVenue) -> None:
        start = (await venue.broker.account()).last_transaction_id
        events = venue.broker.events(start)
        await venue.broker.submit(market("once-1", 100))
        await take(events, 2)
        await venue.admin("faults", {"kind": "duplicate_event", "count": 4})
        await venue.broker.submit(market("once-2", 100))
        await venue.broker.submit(market("once-3", 100))
        seen = [event.transaction_id for event in await take(events, 4)]
        assert seen == list(range(start + 3, start + 7))

    async def test_silent_order_events_are_noticed_by_asking(self, venue: PracticeContractVenue) -> None:
        """A stalled event stream does not hide what happened: the reply and the history have it."""
        start = (await venue.broker.account()).last_transaction_id
        venue.broker.events(start)
        await venue.admin("faults", {"kind": "stall_stream", "seconds": 30, "stream": "transactions"})
        replied = await venue.broker.submit(market("stalled-1", 100))
        assert await venue.broker.transactions_since(start) == replied

    async def test_questions_above_the_limit_wait_and_orders_are_told(self) -> None:
        server = PracticeServer(requests_per_second=40.0)
        venue = PracticeContractVenue(server)
        try:
            await venue.broker.connect()
            for _ in range(80):  # twice what the server takes in a second
                await venue.broker.account()
            with pytest.raises(RateLimitedError):
                for number in range(200):  # orders are never repeated by the adapter
                    await venue.broker.submit(market(f"fast-{number}", 1))
            history = await venue.broker.transactions_since(0)
            assert (
                sum(event.fill.units for event in fills(history)) == (await venue.broker.positions())["EUR_USD"].units
            )
        finally:
            await venue.broker.close()
            server.close()

    async def lockstep(self) -> tuple[list[Quote | Heartbeat], list[str]]:
        """Run 60 steps, trading every fifth; return what was seen and what was filled."""
        server = PracticeServer(SteppedFeed(60, 20), heartbeat_seconds=5.0)
        venue = PracticeContractVenue(server)
        broker, clock = venue.broker, LockstepClock()
        seen: list[Quote | Heartbeat] = []
        try:
            await broker.connect()
            last = (await broker.account()).last_transaction_id
            async with LockstepFeed(broker, clock, ["EUR_USD", "USD_JPY"], server.url) as feed:
                seen += await feed.prime()
                steps = 0
                async for item in feed.events():
                    seen.append(item)
                    if isinstance(item, Heartbeat):
                        steps += 1
                        if steps % 5 == 0:
                            await broker.submit(market(f"step-{steps}", 100 if steps % 2 else -300))
            filled = fills(await broker.transactions_since(last))
            return seen, [f"{event.fill.client_order_id} {event.fill.price} {event.time_ns}" for event in filled]
        finally:
            await broker.close()
            server.close()

    async def test_lockstep_loses_no_tick_and_repeats_itself(self) -> None:
        seen, filled = await self.lockstep()
        quotes = [item for item in seen if isinstance(item, Quote)]
        assert len(quotes) == 2 + 60 * 20 * 2
        assert [quote.time_ns for quote in quotes] == sorted(quote.time_ns for quote in quotes)
        assert quotes[0].time_ns == START_NS and all(quote.simulated for quote in quotes)
        assert len(filled) == 12
        again, filled_again = await self.lockstep()
        assert [(q.instrument, q.time_ns, q.bid, q.ask) for q in again if isinstance(q, Quote)] == [
            (q.instrument, q.time_ns, q.bid, q.ask) for q in quotes
        ]
        assert filled_again == filled
