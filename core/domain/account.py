"""Positions and the account, in ``Decimal``."""

from decimal import Decimal

import msgspec


class Position(msgspec.Struct, frozen=True):
    """The net position in one instrument. ``average_price`` is that of the open units; 0 when flat."""

    instrument: str
    units: Decimal = Decimal(0)
    average_price: Decimal = Decimal(0)
    unrealised_profit: Decimal = Decimal(0)  # account currency, as the broker last said


class OpenOrder(msgspec.Struct, frozen=True):
    """An order the broker says is open."""

    client_order_id: str
    broker_order_id: str
    instrument: str
    units: Decimal
    order_type: str
    price: Decimal | None = None
    trade_id: str = ""  # for stops attached to a trade


class AccountState(msgspec.Struct, frozen=True):
    """The account as the broker states it."""

    currency: str
    balance: Decimal
    net_asset_value: Decimal
    unrealised_profit: Decimal
    margin_used: Decimal
    margin_available: Decimal
    last_transaction_id: int
    time_ns: int
    hedging_enabled: bool = False
    open_position_count: int = 0
    open_order_count: int = 0
