"""The transactions of an account, as v20 writes them (``shared`` OpenAPI specification 3.0.25 and recordings).

One struct a transaction type, tagged by ``type``.
"""

from trading.matching.account_transactions import (
    ClientConfigure,
    ClientConfigureReject,
    Create,
    DailyFinancing,
    MarginCallEnter,
    MarginCallExit,
    OpenTradeFinancing,
    PositionFinancing,
    TransferFunds,
    TransferFundsReject,
)
from trading.matching.details import (
    ClientExtensions,
    FullPrice,
    MarginCloseoutDetails,
    OnFillDetails,
    PositionCloseoutDetails,
    PriceBucket,
    TradeCloseDetails,
    TradeOpen,
    TradeReduce,
)
from trading.matching.order_transactions import (
    LimitOrder,
    LimitOrderReject,
    MarketIfTouchedOrder,
    MarketIfTouchedOrderReject,
    MarketOrder,
    MarketOrderReject,
    OrderCancel,
    OrderCancelReject,
    OrderClientExtensionsModify,
    OrderClientExtensionsModifyReject,
    OrderFill,
    OrderTransaction,
    StopLossOrder,
    StopLossOrderReject,
    StopOrder,
    StopOrderReject,
    TakeProfitOrder,
    TakeProfitOrderReject,
    TradeClientExtensionsModify,
    TradeClientExtensionsModifyReject,
    TrailingStopLossOrder,
    TrailingStopLossOrderReject,
    Transaction,
)

__all__ = [
    "ORDER_CREATED",
    "ORDER_REJECTED",
    "AnyTransaction",
    "ClientConfigure",
    "ClientConfigureReject",
    "ClientExtensions",
    "Create",
    "DailyFinancing",
    "FullPrice",
    "LimitOrder",
    "LimitOrderReject",
    "MarginCallEnter",
    "MarginCallExit",
    "MarginCloseoutDetails",
    "MarketIfTouchedOrder",
    "MarketIfTouchedOrderReject",
    "MarketOrder",
    "MarketOrderReject",
    "OnFillDetails",
    "OpenTradeFinancing",
    "OrderCancel",
    "OrderCancelReject",
    "OrderClientExtensionsModify",
    "OrderClientExtensionsModifyReject",
    "OrderFill",
    "OrderTransaction",
    "PositionCloseoutDetails",
    "PositionFinancing",
    "PriceBucket",
    "StopLossOrder",
    "StopLossOrderReject",
    "StopOrder",
    "StopOrderReject",
    "TakeProfitOrder",
    "TakeProfitOrderReject",
    "TradeClientExtensionsModify",
    "TradeClientExtensionsModifyReject",
    "TradeCloseDetails",
    "TradeOpen",
    "TradeReduce",
    "TrailingStopLossOrder",
    "TrailingStopLossOrderReject",
    "Transaction",
    "TransferFunds",
    "TransferFundsReject",
]

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
