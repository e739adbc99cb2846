"""What can be asked of a broker, one request each: the interruptions of the contract strike every one of them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal

from broker_venue import Venue, limit, market, resting

from core.domain import BrokerEvent, OrderCancelled, OrderRequest, OrderType, TimeInForce
from trading.brokers.interface import Broker, attached_order_id


async def _nothing(venue: Venue) -> None:
    """Nothing has to be there before."""


@dataclass(frozen=True)
class Operation:
    """One request, what must be there before, and what must be there afterwards.

    Attributes:
        key: the client order id the request is known by.
        request: sends it once.
        before: brings the account where the operation begins.
        units: the position in EUR_USD afterwards.
        orders: client ids of the open orders afterwards.
        fills: executions of the order ``key``.
        cancels: whether the sign that it happened is the cancellation of ``key``.
    """

    name: str
    key: str
    request: Callable[[Broker], Awaitable[list[BrokerEvent]]]
    before: Callable[[Venue], Awaitable[None]] = _nothing
    units: int = 0
    orders: frozenset[str] = frozenset()
    fills: int = 1
    cancels: bool = False

    def happened(self, events: list[BrokerEvent]) -> bool:
        """Tell from the events of ``key`` whether the broker carried it out (or refused it)."""
        return any(isinstance(event, OrderCancelled) for event in events) if self.cancels else bool(events)


def _submit(name: str, order: OrderRequest, **fields: object) -> Operation:
    return Operation(name, order.client_order_id, lambda broker: broker.submit(order), **fields)  # type: ignore[arg-type]


def _holding(units: int) -> Callable[[Venue], Awaitable[None]]:
    async def before(venue: Venue) -> None:
        await venue.broker.submit(market("held", units))

    return before


async def _resting(venue: Venue) -> None:
    await venue.broker.submit(limit("rests", 700, "1.05"))


async def _amended(venue: Venue) -> None:
    await _resting(venue)
    await venue.broker.amend("rests", limit("amended", 800, "1.06"))


async def _thin(venue: Venue) -> None:
    await venue.bound_liquidity(600)


BRACKET = market("bracket", 1000, stop_loss_price=Decimal("1.09"), take_profit_price=Decimal("1.12"))
STOP_ID = attached_order_id("bracket", OrderType.STOP_LOSS)
TARGET_ID = attached_order_id("bracket", OrderType.TAKE_PROFIT)

OPERATIONS = (
    _submit("open long", market("long", 1000), units=1000),
    _submit("open short", market("short", -1000), units=-1000),
    Operation("close long", "closes", lambda b: b.close_position("EUR_USD", Decimal(1000), "closes"), _holding(1000)),
    _submit("close short", market("covers", 1000), before=_holding(-1000)),
    _submit("cross zero", market("crosses", -2500), before=_holding(1000), units=-1500),
    _submit("rest", limit("rests", 700, "1.05"), orders=frozenset({"rests"}), fills=0),
    Operation("cancel", "rests", lambda broker: broker.cancel("rests"), _resting, fills=0, cancels=True),
    Operation(
        "amend",
        "amended",
        lambda broker: broker.amend("rests", limit("amended", 800, "1.06")),
        _resting,
        orders=frozenset({"amended"}),
        fills=0,
    ),
    Operation("amend then cancel", "amended", lambda broker: broker.cancel("amended"), _amended, fills=0, cancels=True),
    _submit("partial fill", market("part", 1000, time_in_force=TimeInForce.IOC), before=_thin, units=600),
    _submit("bracket", BRACKET, units=1000, orders=frozenset({STOP_ID, TARGET_ID})),
    _submit("reject", resting("refused", 100, "1.0500001"), fills=0),
)
