"""Transactions of orders and trades. Values that were refused (``…_REJECT``) are echoed as they came."""

from decimal import Decimal

from trading.matching.details import (
    ClientExtensions,
    FullPrice,
    MarginCloseoutDetails,
    OnFillDetails,
    PositionCloseoutDetails,
    TradeCloseDetails,
    TradeOpen,
    TradeReduce,
)
from trading.matching.wire import FrozenWire


class Transaction(FrozenWire, frozen=True, kw_only=True, tag_field="type"):
    """What all transactions carry. Ids count up by one without a gap."""

    id: str
    account_id: str
    user_id: int
    batch_id: str
    time: str
    request_id: str | None = None

    @property
    def number(self) -> int:
        """The id as a number."""
        return int(self.id)

    @property
    def kind(self) -> str:
        """The protocol's ``type``."""
        return str(self.__struct_config__.tag)


class OrderTransaction(Transaction, frozen=True, kw_only=True):
    """An order was created, or refused (``reject_reason`` set). Fields that an order type lacks stay unset."""

    reason: str
    instrument: str | None = None
    units: Decimal | None = None
    price: Decimal | None = None
    price_bound: Decimal | None = None
    distance: Decimal | None = None
    time_in_force: str | None = None
    gtd_time: str | None = None
    position_fill: str | None = None
    trigger_condition: str | None = None
    trigger_mode: str | None = None
    partial_fill: str | None = None
    trade_id: str | None = None
    client_trade_id: str | None = None
    guaranteed: bool | None = None
    client_extensions: ClientExtensions | None = None
    trade_client_extensions: ClientExtensions | None = None
    take_profit_on_fill: OnFillDetails | None = None
    stop_loss_on_fill: OnFillDetails | None = None
    trailing_stop_loss_on_fill: OnFillDetails | None = None
    trade_close: TradeCloseDetails | None = None
    long_position_closeout: PositionCloseoutDetails | None = None
    short_position_closeout: PositionCloseoutDetails | None = None
    margin_closeout: MarginCloseoutDetails | None = None
    order_fill_transaction_id: str | None = None
    replaces_order_id: str | None = None
    cancelling_transaction_id: str | None = None
    intended_replaces_order_id: str | None = None
    reject_reason: str | None = None


class MarketOrder(OrderTransaction, frozen=True, kw_only=True, tag="MARKET_ORDER"):
    """A market order."""


class LimitOrder(OrderTransaction, frozen=True, kw_only=True, tag="LIMIT_ORDER"):
    """A limit order."""


class StopOrder(OrderTransaction, frozen=True, kw_only=True, tag="STOP_ORDER"):
    """A stop entry order."""


class MarketIfTouchedOrder(OrderTransaction, frozen=True, kw_only=True, tag="MARKET_IF_TOUCHED_ORDER"):
    """A market-if-touched order."""


class TakeProfitOrder(OrderTransaction, frozen=True, kw_only=True, tag="TAKE_PROFIT_ORDER"):
    """A take-profit on a trade."""


class StopLossOrder(OrderTransaction, frozen=True, kw_only=True, tag="STOP_LOSS_ORDER"):
    """A stop-loss on a trade."""


class TrailingStopLossOrder(OrderTransaction, frozen=True, kw_only=True, tag="TRAILING_STOP_LOSS_ORDER"):
    """A trailing stop on a trade."""


class MarketOrderReject(OrderTransaction, frozen=True, kw_only=True, tag="MARKET_ORDER_REJECT"):
    """A refused market order."""


class LimitOrderReject(OrderTransaction, frozen=True, kw_only=True, tag="LIMIT_ORDER_REJECT"):
    """A refused limit order."""


class StopOrderReject(OrderTransaction, frozen=True, kw_only=True, tag="STOP_ORDER_REJECT"):
    """A refused stop entry order."""


class MarketIfTouchedOrderReject(OrderTransaction, frozen=True, kw_only=True, tag="MARKET_IF_TOUCHED_ORDER_REJECT"):
    """A refused market-if-touched order."""


class TakeProfitOrderReject(OrderTransaction, frozen=True, kw_only=True, tag="TAKE_PROFIT_ORDER_REJECT"):
    """A refused take-profit."""


class StopLossOrderReject(OrderTransaction, frozen=True, kw_only=True, tag="STOP_LOSS_ORDER_REJECT"):
    """A refused stop-loss."""


class TrailingStopLossOrderReject(OrderTransaction, frozen=True, kw_only=True, tag="TRAILING_STOP_LOSS_ORDER_REJECT"):
    """A refused trailing stop."""


class OrderFill(Transaction, frozen=True, kw_only=True, tag="ORDER_FILL"):
    """An order was executed."""

    order_id: str
    client_order_id: str | None = None
    instrument: str
    units: Decimal
    requested_units: Decimal
    price: Decimal
    full_vwap: Decimal
    pl: Decimal
    financing: Decimal
    commission: Decimal
    account_balance: Decimal
    gain_quote_home_conversion_factor: Decimal
    loss_quote_home_conversion_factor: Decimal
    guaranteed_execution_fee: Decimal
    half_spread_cost: Decimal
    reason: str
    full_price: FullPrice
    trade_opened: TradeOpen | None = None
    trades_closed: tuple[TradeReduce, ...] | None = None
    trade_reduced: TradeReduce | None = None


class OrderCancel(Transaction, frozen=True, kw_only=True, tag="ORDER_CANCEL"):
    """An order is gone without (further) execution."""

    order_id: str
    client_order_id: str | None = None
    reason: str
    replaced_by_order_id: str | None = None


class OrderCancelReject(Transaction, frozen=True, kw_only=True, tag="ORDER_CANCEL_REJECT"):
    """A request to cancel or replace that could not be carried out."""

    order_id: str | None = None
    client_order_id: str | None = None
    reject_reason: str


class OrderClientExtensionsModify(Transaction, frozen=True, kw_only=True, tag="ORDER_CLIENT_EXTENSIONS_MODIFY"):
    """The client's labels of an order were changed."""

    order_id: str
    client_order_id: str | None = None
    client_extensions_modify: ClientExtensions | None = None
    trade_client_extensions_modify: ClientExtensions | None = None


class OrderClientExtensionsModifyReject(
    Transaction, frozen=True, kw_only=True, tag="ORDER_CLIENT_EXTENSIONS_MODIFY_REJECT"
):
    """The client's labels of an order could not be changed."""

    order_id: str | None = None
    client_order_id: str | None = None
    client_extensions_modify: ClientExtensions | None = None
    trade_client_extensions_modify: ClientExtensions | None = None
    reject_reason: str


class TradeClientExtensionsModify(Transaction, frozen=True, kw_only=True, tag="TRADE_CLIENT_EXTENSIONS_MODIFY"):
    """The client's labels of a trade were changed."""

    trade_id: str
    client_trade_id: str | None = None
    trade_client_extensions_modify: ClientExtensions | None = None


class TradeClientExtensionsModifyReject(
    Transaction, frozen=True, kw_only=True, tag="TRADE_CLIENT_EXTENSIONS_MODIFY_REJECT"
):
    """The client's labels of a trade could not be changed."""

    trade_id: str | None = None
    client_trade_id: str | None = None
    trade_client_extensions_modify: ClientExtensions | None = None
    reject_reason: str
