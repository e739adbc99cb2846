"""Every reason the specification knows has a place in ours."""

import json
from pathlib import Path

import pytest

from core.domain import RejectReason
from trading.brokers.v20.rejects import (
    CANCEL_REASONS,
    REJECT_REASONS,
    cancel_reason,
    reason_of_message,
    reject_reason,
)


def test_the_tables_are_as_long_as_the_specification() -> None:
    assert len(REJECT_REASONS) == 143
    assert len(CANCEL_REASONS) == 47


@pytest.mark.shared_data
def test_every_reason_of_the_specification_is_mapped(shared_data: Path) -> None:
    definitions = json.loads((shared_data / "oanda_v20/openapi/v20.json").read_text())["definitions"]
    assert set(REJECT_REASONS) == set(definitions["TransactionRejectReason"]["enum"])
    assert set(CANCEL_REASONS) == set(definitions["OrderCancelReason"]["enum"])


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("INSUFFICIENT_MARGIN", RejectReason.BROKER_INSUFFICIENT_MARGIN),
        ("INSTRUMENT_NOT_TRADEABLE", RejectReason.BROKER_MARKET_HALTED),
        ("INSTRUMENT_UNKNOWN", RejectReason.UNKNOWN_INSTRUMENT),
        ("UNITS_MIMIMUM_NOT_MET", RejectReason.BROKER_INVALID_UNITS),
        ("PRICE_PRECISION_EXCEEDED", RejectReason.BROKER_INVALID_PRICE),
        ("CLIENT_ORDER_ID_ALREADY_EXISTS", RejectReason.BROKER_DUPLICATE_ID),
        ("ORDER_DOESNT_EXIST", RejectReason.BROKER_UNKNOWN_ORDER),
        ("NO_SUCH_ORDER", RejectReason.BROKER_UNKNOWN_ORDER),
        ("ACCOUNT_LOCKED", RejectReason.BROKER_FORBIDDEN),
        ("STOP_LOSS_ORDER_WOULD_VIOLATE_FIFO_VIOLATION_SAFEGUARD", RejectReason.BROKER_FORBIDDEN),
        ("A_REASON_OF_NEXT_YEAR", RejectReason.BROKER_OTHER),
    ],
)
def test_rejects(word: str, reason: RejectReason) -> None:
    assert reject_reason(word) is reason


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("CLIENT_REQUEST", None),
        ("CLIENT_REQUEST_REPLACED", None),
        ("LINKED_TRADE_CLOSED", None),
        ("TIME_IN_FORCE_EXPIRED", None),
        ("MARKET_HALTED", RejectReason.BROKER_MARKET_HALTED),
        ("BOUNDS_VIOLATION", RejectReason.BROKER_BOUNDS_VIOLATION),
        ("INSUFFICIENT_MARGIN", RejectReason.BROKER_INSUFFICIENT_MARGIN),
        ("FIFO_VIOLATION_SAFEGUARD_VIOLATION", RejectReason.BROKER_FORBIDDEN),
        ("A_REASON_OF_NEXT_YEAR", RejectReason.BROKER_OTHER),
    ],
)
def test_cancels(word: str, reason: RejectReason | None) -> None:
    assert cancel_reason(word) is reason


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Invalid value specified for 'order.units'", RejectReason.BROKER_INVALID_UNITS),
        ("Invalid value specified for 'order.price'", RejectReason.BROKER_INVALID_PRICE),
        ("Invalid value specified for 'order.instrument'", RejectReason.UNKNOWN_INSTRUMENT),
        ("Invalid JSON", RejectReason.BROKER_OTHER),
    ],
)
def test_messages_without_a_code(message: str, reason: RejectReason) -> None:
    assert reason_of_message(message) is reason
