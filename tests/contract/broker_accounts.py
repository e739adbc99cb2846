"""The contract's accounts: netting, hedging, and the first-in-first-out rule; fills say which trades they touched."""

from decimal import Decimal

from broker_venue import Venue, fills, market, net_units
from contract_base import ContractBase, OpenVenue

from core.domain import OrderCancelled, OrderRejected, PositionFill, RejectReason


class AccountContract(ContractBase):
    async def test_netting_closes_the_oldest_trades_first(self, venue: Venue) -> None:
        broker = venue.broker
        opened = [fills(await broker.submit(market(f"open-{units}", units)))[0].fill for units in (1000, 500)]
        assert [(fill.opened_units, fill.closed_trades) for fill in opened] == [(1000, ()), (500, ())]
        (first,) = fills(await broker.submit(market("reduce", -1200)))
        assert [(close.trade_id, close.units) for close in first.fill.closed_trades] == [
            (opened[0].opened_trade, -1000),
            (opened[1].opened_trade, -200),
        ]
        assert first.fill.opened_trade == ""
        assert sum(close.realised_profit for close in first.fill.closed_trades) == first.fill.realised_profit
        (second,) = fills(await broker.submit(market("cross", -1000)))
        assert [(close.trade_id, close.units) for close in second.fill.closed_trades] == [
            (opened[1].opened_trade, -300)
        ]
        assert (second.fill.opened_units, await net_units(broker)) == (-700, -700)
        position = (await broker.positions())["EUR_USD"]
        assert (position.long_units, position.short_units, position.short_price) == (0, -700, Decimal("1.1"))

    async def test_hedging_account_holds_both_sides(self, open_venue: OpenVenue) -> None:
        self.need(self.capabilities.hedging, "hedging accounts")
        broker = (await open_venue(hedging=True)).broker
        assert (await broker.account()).hedging_enabled
        await broker.submit(market("long", 1000))
        (short,) = fills(await broker.submit(market("short", -400)))
        assert (short.fill.opened_units, short.fill.closed_trades) == (-400, ())
        position = (await broker.positions())["EUR_USD"]
        assert (position.units, position.long_units, position.short_units) == (600, 1000, -400)
        assert (position.long_price, position.short_price) == (Decimal("1.1001"), Decimal("1.1"))

    async def test_hedging_account_nets_where_it_is_told_to(self, open_venue: OpenVenue) -> None:
        self.need(self.capabilities.hedging, "hedging accounts")
        broker = (await open_venue(hedging=True)).broker
        await broker.submit(market("long", 1000))
        (first,) = fills(await broker.submit(market("nets", -1300, position_fill=PositionFill.REDUCE_FIRST)))
        assert [close.units for close in first.fill.closed_trades] == [-1000] and first.fill.opened_units == -300
        await broker.submit(market("other", 300))
        position = (await broker.positions())["EUR_USD"]  # net zero, and yet there is something
        assert (position.units, position.long_units, position.short_units) == (0, 300, -300)
        (reduced,) = fills(await broker.submit(market("reduces", -500, reduce_only=True)))
        assert (reduced.fill.units, reduced.fill.opened_trade) == (-300, "")
        (closed,) = fills(await broker.close_position("EUR_USD", Decimal(300), "closes"))
        assert closed.fill.units == 300 and await broker.positions() == {}

    async def test_netting_account_opens_nothing_against_its_position_when_told(self, venue: Venue) -> None:
        await venue.broker.submit(market("long", 1000))
        last = (await venue.broker.submit(market("opens", -400, position_fill=PositionFill.OPEN_ONLY)))[-1]
        assert isinstance(last, OrderCancelled | OrderRejected)
        assert last.reject_reason is RejectReason.BROKER_FORBIDDEN
        assert await net_units(venue.broker) == 1000

    async def test_first_in_first_out_rule(self, open_venue: OpenVenue) -> None:
        self.need(self.capabilities.fifo, "accounts under the first-in-first-out rule")
        broker = (await open_venue(fifo=True)).broker
        await broker.submit(market("first", 1000))
        last = (await broker.submit(market("twin", 1000, stop_loss_price=Decimal("1.09"))))[-1]
        assert isinstance(last, OrderCancelled | OrderRejected)
        assert last.reject_reason is RejectReason.BROKER_FORBIDDEN
        assert fills(await broker.submit(market("other", 999, stop_loss_price=Decimal("1.09"))))
        (reduced,) = fills(await broker.submit(market("reduce", -1000)))
        assert len(reduced.fill.closed_trades) == 1 and await net_units(broker) == 999
