"""Positions and the account, in ``Decimal``."""

from decimal import Decimal

import msgspec


class Position(msgspec.Struct, frozen=True):
    """The net position in one instrument. ``average_price`` is that of the open units; 0 when flat.

    A hedging account may hold both sides at once: then the four last fields say what each holds, and ``average_price``
    is that of the larger side.
    """

    instrument: str
    units: Decimal = Decimal(0)
    average_price: Decimal = Decimal(0)
    unrealised_profit: Decimal = Decimal(0)  # account currency, as the broker last said
    long_units: Decimal = Decimal(0)
    long_price: Decimal = Decimal(0)
    short_units: Decimal = Decimal(0)  # not positive
    short_price: Decimal = Decimal(0)


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
