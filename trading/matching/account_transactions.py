"""Transactions of the account itself: its making, funds, configuration, financing and margin calls."""

from decimal import Decimal

from trading.matching.order_transactions import (
    Transaction,
)
from trading.matching.wire import FrozenWire


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
