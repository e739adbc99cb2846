"""Everything that can be asked of the exchange, as data: what is applied is what a journal keeps and replays."""

from decimal import Decimal

import msgspec

from core.domain import Quote
from trading.matching.transactions import (
    ClientExtensions,
    MarginCloseoutDetails,
    OnFillDetails,
    PositionCloseoutDetails,
    TradeCloseDetails,
)
from trading.matching.wire import FrozenWire


class OrderSpecification(FrozenWire, frozen=True, kw_only=True):
    """An order as a client of the protocol writes it. ``type`` is an order type; the rest is checked on submission."""

    type: str = "MARKET"
    instrument: str | None = None
    units: Decimal | None = None
    price: Decimal | None = None
    price_bound: Decimal | None = None
    distance: Decimal | None = None
    time_in_force: str | None = None
    gtd_time: str | None = None
    position_fill: str = "DEFAULT"
    trigger_condition: str = "DEFAULT"
    trade_id: str | int | None = None
    client_trade_id: str | None = None
    client_extensions: ClientExtensions | None = None
    trade_client_extensions: ClientExtensions | None = None
    take_profit_on_fill: OnFillDetails | None = None
    stop_loss_on_fill: OnFillDetails | None = None
    trailing_stop_loss_on_fill: OnFillDetails | None = None
    guaranteed: bool | None = None
    guaranteed_stop_loss_on_fill: OnFillDetails | None = None


class MarketOrderOrigin(FrozenWire, frozen=True, kw_only=True):
    """Why a market order exists when no client wrote it as one."""

    reason: str = "CLIENT_ORDER"
    trade_close: TradeCloseDetails | None = None
    long_position_closeout: PositionCloseoutDetails | None = None
    short_position_closeout: PositionCloseoutDetails | None = None
    margin_closeout: MarginCloseoutDetails | None = None


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="command"):
    """Base of all commands; ``time_ns`` is when the exchange receives it."""

    time_ns: int


class Ticks(Command, frozen=True, kw_only=True, tag="ticks"):
    """Quotes in time order, then time moves to ``time_ns``. ``cursor`` is the feed's own note of where it stands."""

    quotes: tuple[Quote, ...] = ()
    cursor: tuple[int, int] | None = None


class Submit(Command, frozen=True, kw_only=True, tag="submit"):
    """Create an order."""

    order: OrderSpecification


class Cancel(Command, frozen=True, kw_only=True, tag="cancel"):
    """Cancel a pending order, named by id or ``@client id``."""

    order: str


class Replace(Command, frozen=True, kw_only=True, tag="replace"):
    """Replace a pending order."""

    order: str
    replacement: OrderSpecification


class CloseTrade(Command, frozen=True, kw_only=True, tag="close_trade"):
    """Close a trade; ``units`` unsigned, None for all."""

    trade: str
    units: Decimal | None = None
    client_extensions: ClientExtensions | None = None


class ClosePosition(Command, frozen=True, kw_only=True, tag="close_position"):
    """Close a position; units per side are ``ALL``, ``NONE``, a number, or None: whatever is there."""

    instrument: str
    long_units: str | None = None
    short_units: str | None = None
    long_client_extensions: ClientExtensions | None = None
    short_client_extensions: ClientExtensions | None = None


class SetTradeOrders(Command, frozen=True, kw_only=True, tag="set_trade_orders"):
    """Create or replace the orders of a trade (details), cancel them (named in ``cancel``), or leave them."""

    trade: str
    take_profit: OnFillDetails | None = None
    stop_loss: OnFillDetails | None = None
    trailing_stop_loss: OnFillDetails | None = None
    cancel: tuple[str, ...] = ()


class ModifyOrderExtensions(Command, frozen=True, kw_only=True, tag="modify_order_extensions"):
    """Change the client's labels of an order."""

    order: str
    client_extensions: ClientExtensions | None = None
    trade_client_extensions: ClientExtensions | None = None


class ModifyTradeExtensions(Command, frozen=True, kw_only=True, tag="modify_trade_extensions"):
    """Change the client's labels of a trade."""

    trade: str
    client_extensions: ClientExtensions | None = None


class Configure(Command, frozen=True, kw_only=True, tag="configure"):
    """Change the account's name or margin rate."""

    alias: str | None = None
    margin_rate: Decimal | None = None


class MoveFunds(Command, frozen=True, kw_only=True, tag="move_funds"):
    """Add (or take) money."""

    amount: Decimal


class Halt(Command, frozen=True, kw_only=True, tag="halt"):
    """Stop or resume trading in an instrument, whatever the feed says; ``until_ns``: resume by itself then."""

    instrument: str
    halted: bool
    until_ns: int | None = None


class SetLiquidity(Command, frozen=True, kw_only=True, tag="set_liquidity"):
    """Change the size each side of a quote is good for; None: what the account was configured with."""

    units: Decimal | None = None


class RejectNext(Command, frozen=True, kw_only=True, tag="reject_next"):
    """Refuse (or cancel) the next orders with this reason: how a fault is put into the log like any other event."""

    reason: str
    count: int = 1


AnyCommand = (
    Ticks
    | Submit
    | Cancel
    | Replace
    | CloseTrade
    | ClosePosition
    | SetTradeOrders
    | ModifyOrderExtensions
    | ModifyTradeExtensions
    | Configure
    | MoveFunds
    | Halt
    | SetLiquidity
    | RejectNext
)
