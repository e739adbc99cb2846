"""The transactions of an account, as v20 writes them (``shared`` OpenAPI specification 3.0.25 and recordings).

One struct a transaction type, tagged by ``type``. Values that were refused (``…_REJECT``) are echoed as they came.
"""

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


class Create(Transaction, frozen=True, kw_only=True, tag="CREATE"):
    """The account was opened."""

    division_id: int
    site_id: int
    account_user_id: int
    account_number: int
    home_currency: str


class TransferFunds(Transaction, frozen=True, kw_only=True, tag="TRANSFER_FUNDS"):
    """Money came in or went out."""

    amount: Decimal
    funding_reason: str
    account_balance: Decimal


class ClientConfigure(Transaction, frozen=True, kw_only=True, tag="CLIENT_CONFIGURE"):
    """The client changed the account's name or margin rate."""

    alias: str | None = None
    margin_rate: Decimal | None = None


class ClientConfigureReject(Transaction, frozen=True, kw_only=True, tag="CLIENT_CONFIGURE_REJECT"):
    """A refused configuration."""

    alias: str | None = None
    margin_rate: Decimal | None = None
    reject_reason: str


class TransferFundsReject(Transaction, frozen=True, kw_only=True, tag="TRANSFER_FUNDS_REJECT"):
    """Money that could not be moved."""

    amount: Decimal
    funding_reason: str
    reject_reason: str


class OpenTradeFinancing(FrozenWire, frozen=True, kw_only=True):
    """What a trade paid (negative) or earned for being held."""

    trade_id: str
    financing: Decimal


class PositionFinancing(FrozenWire, frozen=True, kw_only=True):
    """The same for a position."""

    instrument: str
    financing: Decimal
    open_trade_financings: tuple[OpenTradeFinancing, ...]


class DailyFinancing(Transaction, frozen=True, kw_only=True, tag="DAILY_FINANCING"):
    """The account was charged for what it held at the end of the trading day."""

    financing: Decimal
    account_balance: Decimal
    account_financing_mode: str
    position_financings: tuple[PositionFinancing, ...]


class MarginCallEnter(Transaction, frozen=True, kw_only=True, tag="MARGIN_CALL_ENTER"):
    """Margin used exceeds the net asset value."""


class MarginCallExit(Transaction, frozen=True, kw_only=True, tag="MARGIN_CALL_EXIT"):
    """Margin used is covered again."""


AnyTransaction = (
    MarketOrder
    | LimitOrder
    | StopOrder
    | MarketIfTouchedOrder
    | TakeProfitOrder
    | StopLossOrder
    | TrailingStopLossOrder
    | MarketOrderReject
    | LimitOrderReject
    | StopOrderReject
    | MarketIfTouchedOrderReject
    | TakeProfitOrderReject
    | StopLossOrderReject
    | TrailingStopLossOrderReject
    | OrderFill
    | OrderCancel
    | OrderCancelReject
    | OrderClientExtensionsModify
    | OrderClientExtensionsModifyReject
    | TradeClientExtensionsModify
    | TradeClientExtensionsModifyReject
    | Create
    | TransferFunds
    | TransferFundsReject
    | DailyFinancing
    | ClientConfigure
    | ClientConfigureReject
    | MarginCallEnter
    | MarginCallExit
)

ORDER_CREATED: dict[str, type[OrderTransaction]] = {
    "MARKET": MarketOrder,
    "LIMIT": LimitOrder,
    "STOP": StopOrder,
    "MARKET_IF_TOUCHED": MarketIfTouchedOrder,
    "TAKE_PROFIT": TakeProfitOrder,
    "STOP_LOSS": StopLossOrder,
    "TRAILING_STOP_LOSS": TrailingStopLossOrder,
}
ORDER_REJECTED: dict[str, type[OrderTransaction]] = {
    "MARKET": MarketOrderReject,
    "LIMIT": LimitOrderReject,
    "STOP": StopOrderReject,
    "MARKET_IF_TOUCHED": MarketIfTouchedOrderReject,
    "TAKE_PROFIT": TakeProfitOrderReject,
    "STOP_LOSS": StopLossOrderReject,
    "TRAILING_STOP_LOSS": TrailingStopLossOrderReject,
}
