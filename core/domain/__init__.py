"""Domain types shared by every room. Frozen, typed, serialisable with msgspec."""

from core.domain.account import AccountState, OpenOrder, Position
from core.domain.instrument import Instrument, default_instrument, normalise_name
from core.domain.market import INPUT_COLUMNS, Bar, BarKind, Heartbeat, Panel, Quote, input_row, mid_price
from core.domain.order import (
    AccountChanged,
    BrokerEvent,
    Fill,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    OrderRejected,
    OrderRequest,
    OrderState,
    OrderType,
    PositionFill,
    RejectReason,
    TimeInForce,
    TradeClose,
)
from core.domain.prediction import CLASSES, Alternative, AnsweredBy, Prediction, PredictionRequest, Predictor

__all__ = [
    "CLASSES",
    "INPUT_COLUMNS",
    "AccountChanged",
    "AccountState",
    "Alternative",
    "AnsweredBy",
    "Bar",
    "BarKind",
    "BrokerEvent",
    "Fill",
    "Heartbeat",
    "Instrument",
    "OpenOrder",
    "OrderAccepted",
    "OrderCancelled",
    "OrderFilled",
    "OrderRejected",
    "OrderRequest",
    "OrderState",
    "OrderType",
    "Panel",
    "Position",
    "PositionFill",
    "Prediction",
    "PredictionRequest",
    "Predictor",
    "Quote",
    "RejectReason",
    "TimeInForce",
    "TradeClose",
    "default_instrument",
    "input_row",
    "mid_price",
    "normalise_name",
]
