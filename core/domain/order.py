"""Orders, their states and the events that move them. Sizes and money are ``Decimal``; units are signed (+ buys)."""

from decimal import Decimal
from enum import StrEnum

import msgspec


class OrderType(StrEnum):
    """Order types of the v20 protocol that Tidegate uses."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"
    MARKET_IF_TOUCHED = "MARKET_IF_TOUCHED"
    TAKE_PROFIT = "TAKE_PROFIT"
    STOP_LOSS = "STOP_LOSS"
    TRAILING_STOP_LOSS = "TRAILING_STOP_LOSS"


class TimeInForce(StrEnum):
    """How long an order lives."""

    FOK = "FOK"
    IOC = "IOC"
    GTC = "GTC"
    GTD = "GTD"


class PositionFill(StrEnum):
    """What a fill may do to an open position (v20 ``OrderPositionFill``)."""

    DEFAULT = "DEFAULT"  # netting accounts reduce first, hedging accounts open
    OPEN_ONLY = "OPEN_ONLY"
    REDUCE_FIRST = "REDUCE_FIRST"
    REDUCE_ONLY = "REDUCE_ONLY"


class OrderState(StrEnum):
    """The life of an order. UNKNOWN: it was sent and the reply was lost; only the broker can say what became of it."""

    PENDING_NEW = "pending_new"  # journalled, not yet known to have reached the broker
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    PENDING_CANCEL = "pending_cancel"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"

    @property
    def terminal(self) -> bool:
        """Whether nothing can happen to the order any more."""
        return self in (OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED)


class RejectReason(StrEnum):
    """Why an order did not go out or was not taken. One list for our own risk rules and the broker's answers."""

    # Tidegate's own pre-trade rules
    STATE_HALTED = "STATE_HALTED"
    STATE_REDUCING = "STATE_REDUCING"
    DEGRADED = "DEGRADED"  # something that the whole account needs is missing
    SIZE_LIMIT = "SIZE_LIMIT"
    GROSS_EXPOSURE = "GROSS_EXPOSURE"
    CURRENCY_EXPOSURE = "CURRENCY_EXPOSURE"
    LEVERAGE = "LEVERAGE"
    MARGIN = "MARGIN"
    VALUE_AT_RISK = "VALUE_AT_RISK"
    DAILY_LOSS = "DAILY_LOSS"
    DRAWDOWN = "DRAWDOWN"
    SPREAD = "SPREAD"
    STALE_PRICE = "STALE_PRICE"
    ORDER_RATE = "ORDER_RATE"
    DUPLICATE_INTENT = "DUPLICATE_INTENT"
    OUTSIDE_HOURS = "OUTSIDE_HOURS"
    ROLLOVER_WINDOW = "ROLLOVER_WINDOW"
    NO_VERIFIED_MODEL = "NO_VERIFIED_MODEL"
    UNKNOWN_INSTRUMENT = "UNKNOWN_INSTRUMENT"
    # a request that makes no sense, whatever the risk
    INVALID_ORDER = "INVALID_ORDER"
    INVALID_UNITS = "INVALID_UNITS"
    INVALID_PRICE = "INVALID_PRICE"
    INVALID_TIME = "INVALID_TIME"
    # the broker's answers
    BROKER_INSUFFICIENT_MARGIN = "BROKER_INSUFFICIENT_MARGIN"
    BROKER_MARKET_HALTED = "BROKER_MARKET_HALTED"
    BROKER_BOUNDS_VIOLATION = "BROKER_BOUNDS_VIOLATION"
    BROKER_INVALID_PRICE = "BROKER_INVALID_PRICE"
    BROKER_INVALID_UNITS = "BROKER_INVALID_UNITS"
    BROKER_DUPLICATE_ID = "BROKER_DUPLICATE_ID"
    BROKER_UNKNOWN_ORDER = "BROKER_UNKNOWN_ORDER"
    BROKER_FORBIDDEN = "BROKER_FORBIDDEN"
    BROKER_OTHER = "BROKER_OTHER"


class OrderRequest(msgspec.Struct, frozen=True):
    """What is to be sent. ``client_order_id`` is a pure function of the decision: the same decision, the same id."""

    client_order_id: str
    instrument: str
    units: Decimal  # signed
    order_type: OrderType = OrderType.MARKET
    time_in_force: TimeInForce = TimeInForce.FOK
    price: Decimal | None = None  # limit, stop or trigger price
    price_bound: Decimal | None = None  # worst acceptable fill price
    good_till_ns: int | None = None  # GTD
    stop_loss_price: Decimal | None = None  # attached on fill
    take_profit_price: Decimal | None = None
    trailing_stop_distance: Decimal | None = None
    reduce_only: bool = False
    decision_id: str = ""
    strategy: str = ""
    comment: str = ""
    position_fill: PositionFill = PositionFill.DEFAULT  # ``reduce_only`` means REDUCE_ONLY, whatever this says


class TradeClose(msgspec.Struct, frozen=True):
    """What a fill took off one open trade."""

    trade_id: str
    units: Decimal  # signed as the fill: negative where a long trade is closed
    realised_profit: Decimal = Decimal(0)  # account currency


class Fill(msgspec.Struct, frozen=True):
    """One execution, identified by the broker's transaction id; seen twice (reply and stream) it is still one."""

    transaction_id: int
    client_order_id: str  # "" when the broker acted on its own (margin close-out)
    broker_order_id: str
    instrument: str
    units: Decimal  # signed
    price: Decimal
    time_ns: int
    realised_profit: Decimal = Decimal(0)  # account currency
    commission: Decimal = Decimal(0)
    half_spread_cost: Decimal = Decimal(0)
    financing: Decimal = Decimal(0)
    account_balance: Decimal | None = None
    reason: str = ""  # MARKET_ORDER, STOP_LOSS_ORDER, …
    closed_trades: tuple[TradeClose, ...] = ()  # those closed or reduced, where the broker names them
    opened_trade: str = ""  # the id of the trade it opened
    opened_units: Decimal = Decimal(0)  # signed units of that trade


class OrderAccepted(msgspec.Struct, frozen=True, tag="accepted"):
    """The broker holds the order."""

    transaction_id: int
    client_order_id: str
    broker_order_id: str
    instrument: str
    units: Decimal
    order_type: OrderType
    time_ns: int
    price: Decimal | None = None
    replaces: str = ""
    trade_id: str = ""  # of the trade that a stop or target belongs to


class OrderFilled(msgspec.Struct, frozen=True, tag="filled"):
    """An execution of an order."""

    transaction_id: int
    fill: Fill
    time_ns: int


class OrderCancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    """The order is gone without (further) execution. ``reason`` is the broker's own word."""

    transaction_id: int
    client_order_id: str
    broker_order_id: str
    time_ns: int
    reason: str = ""
    reject_reason: RejectReason | None = None  # set where the broker cancelled because it could not trade
    replaced_by: str = ""


class OrderRejected(msgspec.Struct, frozen=True, tag="rejected"):
    """The broker did not take the order."""

    transaction_id: int
    client_order_id: str
    time_ns: int
    reject_reason: RejectReason
    broker_reason: str = ""


class AccountChanged(msgspec.Struct, frozen=True, tag="account"):
    """Balance moved without an order: financing, transfer of funds, adjustment."""

    transaction_id: int
    time_ns: int
    kind: str
    amount: Decimal
    account_balance: Decimal | None = None
    instrument: str = ""


BrokerEvent = OrderAccepted | OrderFilled | OrderCancelled | OrderRejected | AccountChanged
