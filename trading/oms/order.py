"""One order and what became of it."""

from decimal import Decimal

import msgspec

from core.domain import OrderRequest, OrderState, OrderType, PositionFill, RejectReason, TimeInForce

PROTECTIVE = frozenset({OrderType.STOP_LOSS, OrderType.TAKE_PROFIT, OrderType.TRAILING_STOP_LOSS})
_UNSETTLED = frozenset({OrderState.PENDING_NEW, OrderState.UNKNOWN, OrderState.PENDING_CANCEL})
_IMMEDIATE = frozenset({TimeInForce.FOK, TimeInForce.IOC})


class Order(msgspec.Struct):
    """The state of an order as far as it is known. Units are signed."""

    key: str  # client order id, or ``broker:<id>`` for an order without one
    instrument: str
    units: Decimal
    order_type: OrderType
    state: OrderState
    created_ns: int
    request: OrderRequest | None = None  # None: the broker made it (attached stops), or somebody else
    broker_order_id: str = ""
    price: Decimal | None = None  # limit, stop or trigger; None where it has none, or nobody said it
    filled_units: Decimal = Decimal(0)
    filled_value: Decimal = Decimal(0)  # sum of units times price of its fills: signed, quote currency
    reject_reason: RejectReason | None = None
    words: str = ""
    parent_transaction: int = 0  # the fill that an attached stop or target belongs to
    fill_transaction: int = 0  # the newest fill of this order
    never_sent: bool = False  # it is certain that the broker has no trace of it
    assumed: bool = False  # its final state is our conclusion, not the broker's word
    sent_after: int = 0  # every transaction of this order has a higher id
    replaces: str = ""  # the order this one is to take the place of
    replacement: str = ""  # the order that is to take its place

    @property
    def protective(self) -> bool:
        """Whether it is a stop or target of an open trade."""
        return self.order_type in PROTECTIVE

    @property
    def entry(self) -> bool:
        """Whether it is one of our own orders that trades by itself."""
        return self.request is not None and self.order_type not in PROTECTIVE

    @property
    def reduces(self) -> bool:
        """Whether its fills are to lower an open position before they open anything."""
        request = self.request
        if self.order_type in PROTECTIVE:
            return True
        if request is None:
            return False
        return request.reduce_only or request.position_fill in (PositionFill.REDUCE_FIRST, PositionFill.REDUCE_ONLY)

    @property
    def working(self) -> bool:
        """Whether the broker is known to hold it and nothing is under way."""
        return self.state in (OrderState.ACCEPTED, OrderState.PARTIALLY_FILLED)

    @property
    def unsettled(self) -> bool:
        """Whether only the broker can say what became of it.

        Of an order that lives for an instant (FOK, IOC) the broker holds no rest: one that still looks open is asked
        about too.
        """
        if self.state in _UNSETTLED:
            return True
        request = self.request
        return (
            request is not None
            and self.order_type not in PROTECTIVE
            and request.time_in_force in _IMMEDIATE
            and not self.state.terminal
        )
