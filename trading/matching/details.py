"""What transactions are made of: prices, attached orders, opened and reduced trades, as v20 writes them."""

from decimal import Decimal

from trading.matching.wire import FrozenWire


class ClientExtensions(FrozenWire, frozen=True, kw_only=True):
    """What a client may attach to an order or trade."""

    id: str | None = None
    tag: str | None = None
    comment: str | None = None


class OnFillDetails(FrozenWire, frozen=True, kw_only=True):
    """A take-profit, stop-loss or trailing stop that a fill brings along."""

    price: Decimal | None = None
    distance: Decimal | None = None
    time_in_force: str | None = None
    gtd_time: str | None = None
    trigger_condition: str | None = None
    guaranteed: bool | None = None
    client_extensions: ClientExtensions | None = None


class TradeCloseDetails(FrozenWire, frozen=True, kw_only=True):
    """Which trade a market order closes."""

    trade_id: str
    units: str
    client_trade_id: str | None = None


class PositionCloseoutDetails(FrozenWire, frozen=True, kw_only=True):
    """Which position a market order closes."""

    instrument: str
    units: str


class MarginCloseoutDetails(FrozenWire, frozen=True, kw_only=True):
    """Why the broker closed by itself."""

    reason: str


class PriceBucket(FrozenWire, frozen=True, kw_only=True):
    """A price and the size it is good for, as written inside transactions."""

    price: Decimal
    liquidity: str


class FullPrice(FrozenWire, frozen=True, kw_only=True):
    """The whole price a fill was made on. ``simulated`` is ours: the price was not recorded in a market."""

    closeout_bid: Decimal
    closeout_ask: Decimal
    timestamp: str
    bids: tuple[PriceBucket, ...]
    asks: tuple[PriceBucket, ...]
    simulated: bool | None = None


class TradeOpen(FrozenWire, frozen=True, kw_only=True):
    """The trade a fill opened."""

    price: Decimal
    trade_id: str = ""
    units: Decimal
    guaranteed_execution_fee: Decimal
    half_spread_cost: Decimal
    initial_margin_required: Decimal
    client_extensions: ClientExtensions | None = None


class TradeReduce(FrozenWire, frozen=True, kw_only=True):
    """A trade that a fill closed or reduced; ``units`` carry the sign of the fill."""

    trade_id: str
    units: Decimal
    realized_pl: Decimal
    financing: Decimal
    price: Decimal
    guaranteed_execution_fee: Decimal
    half_spread_cost: Decimal
