"""The whole state of one account at the exchange: plain data, so that a snapshot is one ``encode``."""

from decimal import Decimal

import msgspec

from core.domain import Quote
from trading.matching.transactions import AnyTransaction, ClientExtensions, OnFillDetails, TradeCloseDetails
from trading.matching.wire import ZERO, ZERO_MONEY, Wire


class AccountConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """What an account is opened with.

    ``liquidity`` is the size each side of a quote is good for (the recordings show 10,000,000 for majors), used up by
    what trades on it and renewed by the next quote. ``commission_per_million`` is per million of traded notional, both
    in the account currency, per side. ``hedging`` lets both sides of an instrument coexist; ``fifo`` is the rule of
    accounts in the United States. ``weekend_halt`` closes the market by the FX calendar, ``maintenance`` holds daily
    windows (start, end) in minutes after midnight New York. ``financing`` charges at 17:00 New York by
    ``financing_rates``, annual rates (long, short) by instrument, else by ``default_financing_rate``.
    """

    account_id: str = "101-001-1000000-001"
    user_id: int = 1_000_000
    alias: str = "Primary"
    currency: str = "USD"
    balance: Decimal = Decimal(100_000)
    margin_rate: Decimal = Decimal("0.02")
    commission_per_million: Decimal = ZERO
    liquidity: Decimal = Decimal(10_000_000)
    client_id_memory: int = 10_000  # a client order id stays taken for this many orders
    hedging: bool = False
    fifo: bool = False
    weekend_halt: bool = False
    maintenance: tuple[tuple[int, int], ...] = ()
    financing: bool = False
    financing_rates: dict[str, tuple[Decimal, Decimal]] = msgspec.field(
        default_factory=dict[str, tuple[Decimal, Decimal]]
    )
    default_financing_rate: Decimal = Decimal("-0.01")


class Order(Wire, kw_only=True):
    """An order as the protocol shows it; ``type`` as in ``OrderType``."""

    id: str
    create_time: str
    type: str
    state: str
    instrument: str | None = None
    units: Decimal | None = None
    time_in_force: str
    gtd_time: str | None = None
    price: Decimal | None = None
    price_bound: Decimal | None = None
    distance: Decimal | None = None
    trailing_stop_value: Decimal | None = None
    initial_market_price: Decimal | None = None
    trade_id: str | None = None
    client_trade_id: str | None = None
    guaranteed: bool | None = None
    position_fill: str | None = None
    trigger_condition: str | None = None
    trigger_mode: str | None = None  # stop-losses watch the best price
    partial_fill: str | None = None
    trade_close: TradeCloseDetails | None = None
    client_extensions: ClientExtensions | None = None
    trade_client_extensions: ClientExtensions | None = None
    take_profit_on_fill: OnFillDetails | None = None
    stop_loss_on_fill: OnFillDetails | None = None
    trailing_stop_loss_on_fill: OnFillDetails | None = None
    replaces_order_id: str | None = None
    replaced_by_order_id: str | None = None
    filling_transaction_id: str | None = None
    filled_time: str | None = None
    trade_opened_id: str | None = None
    trade_reduced_id: str | None = None
    trade_closed_ids: tuple[str, ...] | None = None
    cancelling_transaction_id: str | None = None
    cancelled_time: str | None = None
    filled_units: Decimal | None = None  # ours: what a resting order has traded so far, once that is a part of it

    @property
    def client_id(self) -> str | None:
        """The client's own id, if it gave one."""
        return self.client_extensions.id if self.client_extensions else None

    @property
    def open_units(self) -> Decimal:
        """What is still to be traded, signed; 0 for orders that take their size from a trade."""
        return (self.units or ZERO) - (self.filled_units or ZERO)


class Trade(msgspec.Struct, kw_only=True):
    """One opening fill and what is left of it. ``units`` are signed."""

    id: str
    instrument: str
    price: Decimal
    open_time: str
    initial_units: Decimal
    units: Decimal
    initial_margin_required: Decimal
    realized_pl: Decimal = ZERO_MONEY
    financing: Decimal = ZERO_MONEY
    close_value: Decimal = ZERO  # sum of closed units times price, for the average closing price
    closing_transaction_ids: list[str] = msgspec.field(default_factory=list[str])
    close_time: str | None = None
    client_extensions: ClientExtensions | None = None
    order_ids: dict[str, str] = msgspec.field(default_factory=dict[str, str])  # order type -> latest order

    @property
    def client_id(self) -> str | None:
        """The client's own id, if it gave one."""
        return self.client_extensions.id if self.client_extensions else None


class SideTotals(msgspec.Struct):
    """What one side of a position has earned over the account's life."""

    pl: Decimal = ZERO_MONEY
    financing: Decimal = ZERO_MONEY


class PositionTotals(msgspec.Struct):
    """The life-long account of one instrument."""

    long: SideTotals = msgspec.field(default_factory=SideTotals)
    short: SideTotals = msgspec.field(default_factory=SideTotals)
    commission: Decimal = ZERO_MONEY


class Book(msgspec.Struct, kw_only=True):
    """Everything the exchange knows. Invariant: ``transactions[k].id == str(k + 1)``."""

    configuration: AccountConfiguration
    created_time: str
    time_ns: int
    alias: str
    margin_rate: Decimal
    balance: Decimal = ZERO_MONEY
    pl: Decimal = ZERO_MONEY
    financing: Decimal = ZERO_MONEY
    commission: Decimal = ZERO_MONEY
    transactions: list[AnyTransaction] = msgspec.field(default_factory=list[AnyTransaction])
    orders: dict[str, Order] = msgspec.field(default_factory=dict[str, Order])
    trades: dict[str, Trade] = msgspec.field(default_factory=dict[str, Trade])
    positions: dict[str, PositionTotals] = msgspec.field(default_factory=dict[str, PositionTotals])
    quotes: dict[str, Quote] = msgspec.field(default_factory=dict[str, Quote])
    halted: list[str] = msgspec.field(default_factory=list[str])
    client_order_ids: dict[str, str] = msgspec.field(default_factory=dict[str, str])  # newest order of each client id
    margin_call_since: str | None = None
    last_fill_time: str | None = None
    reject_reasons: list[str] = msgspec.field(default_factory=list[str])  # faults waiting for their order
    halted_until: dict[str, int] = msgspec.field(default_factory=dict[str, int])  # halts that end by themselves
    liquidity: Decimal | None = None  # in force instead of the configuration's
    liquidity_taken: dict[str, tuple[Decimal, Decimal]] = msgspec.field(
        default_factory=dict[str, tuple[Decimal, Decimal]]
    )  # bought and sold on the standing quote
    next_financing_ns: int | None = None
