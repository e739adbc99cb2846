"""Where the broker contract runs: a venue under the test's control, and what an adapter says it can do."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeVar

from core.domain import BrokerEvent, OrderFilled, OrderRequest, OrderType, TimeInForce
from trading.brokers.interface import Broker

Item = TypeVar("Item")
Request = Literal["submit", "cancel", "amend"]

WAIT_SECONDS = 20.0
_ENTRIES = (OrderType.LIMIT, OrderType.STOP, OrderType.MARKET_IF_TOUCHED)
_RESTING = frozenset({TimeInForce.GTC, TimeInForce.GTD})


def _v20_times_in_force() -> dict[OrderType, frozenset[TimeInForce]]:
    return {
        OrderType.MARKET: frozenset({TimeInForce.FOK, TimeInForce.IOC}),
        OrderType.LIMIT: frozenset(TimeInForce),
        OrderType.STOP: _RESTING,
        OrderType.MARKET_IF_TOUCHED: _RESTING,
    }


@dataclass(frozen=True)
class Capabilities:
    """What a broker offers. What it does not is skipped with that reason; the defaults are those of OANDA's v20."""

    times_in_force: Mapping[OrderType, frozenset[TimeInForce]] = field(default_factory=_v20_times_in_force)
    attached: frozenset[OrderType] = frozenset(
        {OrderType.STOP_LOSS, OrderType.TAKE_PROFIT, OrderType.TRAILING_STOP_LOSS}
    )
    price_bounds: frozenset[OrderType] = frozenset({OrderType.MARKET, OrderType.STOP, OrderType.MARKET_IF_TOUCHED})
    hedging: bool = True  # accounts that hold both sides of an instrument
    fifo: bool = True  # accounts under the first-in-first-out rule
    bounded_liquidity: bool = True  # the venue can say how much a quote is good for
    network: bool = True  # streams and replies can be lost
    broker_restart: bool = True  # the broker's own process can be ended and started again
    adapter_restart: bool = True


class Venue(ABC):
    """A place to trade with one account of 100,000 USD, flat, under the test's control.

    The standing quotes at the start are EUR_USD 1.10000/1.10010 and USD_JPY 150.000/150.010.
    """

    broker: Broker

    @property
    @abstractmethod
    def time_ns(self) -> int:
        """The market's time."""

    @abstractmethod
    async def quote(self, instrument: str, bid: str, ask: str) -> None:
        """Move the market: the tick is matched, then published."""

    @abstractmethod
    async def halt(self, instrument: str) -> None:
        """Stop trading in an instrument."""

    @abstractmethod
    async def bound_liquidity(self, units: int | None) -> None:
        """Say what each side of the coming quotes is good for; None: more than enough."""

    @abstractmethod
    async def pass_time(self, seconds: int) -> None:
        """Let market time pass without a quote."""

    @abstractmethod
    async def restart_adapter(self) -> None:
        """Put another connected adapter of the same account into ``broker``; the old one is gone as if killed."""

    @abstractmethod
    async def close(self) -> None:
        """End everything."""


class RemoteVenue(Venue):
    """A venue behind a network that can fail."""

    @abstractmethod
    async def lose_next_reply(self, request: Request) -> None:
        """The next request of this kind is executed and its reply lost."""

    @abstractmethod
    async def lose_next_request(self, request: Request) -> None:
        """The next request of this kind is lost before anything is done."""

    @abstractmethod
    async def cut_streams(self) -> None:
        """Break all stream connections."""

    @abstractmethod
    async def restart_broker(self) -> None:
        """End the broker as a crash does and start it again with what it had on disk, at the same address."""

    @abstractmethod
    def with_credentials(self, token: str | None = None, account_id: str | None = None) -> Broker:
        """Another adapter for the same venue with other credentials."""


def market(client_order_id: str, units: int | str, **fields: object) -> OrderRequest:
    return OrderRequest(client_order_id, "EUR_USD", Decimal(units), **fields)  # type: ignore[arg-type]


def resting(
    client_order_id: str,
    units: int,
    price: str,
    order_type: OrderType = OrderType.LIMIT,
    time_in_force: TimeInForce = TimeInForce.GTC,
    **fields: object,
) -> OrderRequest:
    return OrderRequest(
        client_order_id, "EUR_USD", Decimal(units), order_type, time_in_force, price=Decimal(price), **fields
    )  # type: ignore[arg-type]


def limit(client_order_id: str, units: int, price: str) -> OrderRequest:
    return resting(client_order_id, units, price)


def client_id(event: BrokerEvent) -> str:
    return event.fill.client_order_id if isinstance(event, OrderFilled) else getattr(event, "client_order_id", "")


def fills(events: list[BrokerEvent]) -> list[OrderFilled]:
    return [event for event in events if isinstance(event, OrderFilled)]


async def take(stream: AsyncIterator[Item], count: int) -> list[Item]:
    return [await asyncio.wait_for(anext(stream), WAIT_SECONDS) for _ in range(count)]


async def until_fill(stream: AsyncIterator[BrokerEvent], client_order_id: str) -> OrderFilled:
    while True:
        (event,) = await take(stream, 1)
        if isinstance(event, OrderFilled) and event.fill.client_order_id == client_order_id:
            return event


async def net_units(broker: Broker, instrument: str = "EUR_USD") -> Decimal:
    position = (await broker.positions()).get(instrument)
    return position.units if position else Decimal(0)


__all__ = [
    "WAIT_SECONDS",
    "Capabilities",
    "RemoteVenue",
    "Request",
    "Venue",
    "client_id",
    "fills",
    "limit",
    "market",
    "net_units",
    "resting",
    "take",
    "until_fill",
]
