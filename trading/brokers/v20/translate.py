"""v20 JSON as domain types, money and sizes in ``Decimal``. Reading is strict: a payload that says anything
unreadable raises ``BadInputError``; no field that moves money has a silent default.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, cast

import msgspec

from core.clock import from_rfc3339
from core.domain import (
    AccountChanged,
    AccountState,
    BrokerEvent,
    Fill,
    Instrument,
    OpenOrder,
    OrderAccepted,
    OrderCancelled,
    OrderFilled,
    OrderRejected,
    OrderType,
    Position,
    TradeClose,
)
from core.errors import BadInputError
from trading.brokers.v20.rejects import cancel_reason, reject_reason

Json = Mapping[str, Any]

_ORDER_TYPES = {f"{kind.value}_ORDER": kind for kind in OrderType} | {"FIXED_PRICE_ORDER": OrderType.MARKET}
_ORDER_REJECTS = frozenset(f"{name}_REJECT" for name in _ORDER_TYPES)
_AMOUNT_FIELDS = ("amount", "financing", "dividendAdjustment")


class OpenTrade(msgspec.Struct, frozen=True):
    """What an order attached to a trade needs to know of it: v20 names only the trade's id there."""

    instrument: str
    units: Decimal


class Translator:
    """Turns transactions into events. It remembers open trades, to name the instrument of stops and targets."""

    def __init__(self) -> None:
        self._trades: dict[str, OpenTrade] = {}

    def learn_trades(self, trades: Sequence[Json]) -> None:
        """Take in the broker's list of open trades."""
        for trade in trades:
            self._trades[_text(trade, "id")] = OpenTrade(_text(trade, "instrument"), _decimal(trade, "currentUnits"))

    def trade(self, trade_id: str) -> OpenTrade | None:
        """Return an open trade by id."""
        return self._trades.get(trade_id)

    def event(self, transaction: Json) -> BrokerEvent:
        """Return the one event of a transaction.

        Raises:
            BadInputError: the transaction cannot be read.
        """
        kind = _text(transaction, "type")
        number = _identifier(transaction)
        time_ns = _time(transaction, "time")
        if kind == "ORDER_FILL":
            return OrderFilled(number, self._fill(transaction, number, time_ns), time_ns)
        if kind in _ORDER_TYPES:
            return self._accepted(transaction, _ORDER_TYPES[kind], number, time_ns)
        if kind == "ORDER_CANCEL":
            reason = _text(transaction, "reason")
            return OrderCancelled(
                transaction_id=number,
                client_order_id=str(transaction.get("clientOrderID", "")),
                broker_order_id=_text(transaction, "orderID"),
                time_ns=time_ns,
                reason=reason,
                reject_reason=cancel_reason(reason),
                replaced_by=str(transaction.get("replacedByOrderID", "")),
            )
        if kind in _ORDER_REJECTS:
            word = _text(transaction, "rejectReason")
            return OrderRejected(number, _client_id(transaction), time_ns, reject_reason(word), word)
        amount = next((_decimal(transaction, field) for field in _AMOUNT_FIELDS if field in transaction), Decimal(0))
        return AccountChanged(
            transaction_id=number,
            time_ns=time_ns,
            kind=kind,
            amount=amount,
            account_balance=_optional(transaction, "accountBalance"),
            instrument=str(transaction.get("instrument", "")),
        )

    def reply_events(self, reply: Json, client_order_id: str) -> list[BrokerEvent]:
        """Return the events of the transactions inside an order reply, in id order.

        A refused cancel (``ORDER_CANCEL_REJECT``) is an ``OrderRejected`` here: it answers the request just made.
        """
        found: dict[int, BrokerEvent] = {}
        for key, value in reply.items():
            if not key.endswith("Transaction") or not isinstance(value, Mapping):
                continue
            transaction = cast(Json, value)
            if transaction.get("type") == "ORDER_CANCEL_REJECT":
                word = _text(transaction, "rejectReason")
                event: BrokerEvent = OrderRejected(
                    _identifier(transaction),
                    str(transaction.get("clientOrderID", "")) or client_order_id,
                    _time(transaction, "time"),
                    reject_reason(word),
                    word,
                )
            else:
                event = self.event(transaction)
            found[event.transaction_id] = event
        return [found[number] for number in sorted(found)]

    def _accepted(self, transaction: Json, kind: OrderType, number: int, time_ns: int) -> OrderAccepted:
        trade = self._trades.get(str(transaction.get("tradeID", "")))
        instrument = str(transaction.get("instrument", trade.instrument if trade else ""))
        units = _decimal(transaction, "units") if "units" in transaction else -trade.units if trade else Decimal(0)
        return OrderAccepted(
            transaction_id=number,
            client_order_id=_client_id(transaction),
            broker_order_id=str(number),
            instrument=instrument,
            units=units,
            order_type=kind,
            time_ns=time_ns,
            price=_optional(transaction, "price"),
            replaces=str(transaction.get("replacesOrderID", "")),
            trade_id=str(transaction.get("tradeID", "")),
        )

    def _fill(self, transaction: Json, number: int, time_ns: int) -> Fill:
        instrument = _text(transaction, "instrument")
        units = _decimal(transaction, "units")
        price = _decimal(transaction, "price" if "price" in transaction else "fullVWAP")
        if price <= 0 or not units:
            raise BadInputError(f"the broker's fill {number} is {units} units at {price}: not used")
        opened = _part(transaction, "tradeOpened")
        reduced = _part(transaction, "tradeReduced")
        closed = [_closing(part, units) for part in _parts(transaction, "tradesClosed")]
        taken = [_closing(reduced, units)] if reduced else []
        fill = Fill(
            transaction_id=number,
            client_order_id=str(transaction.get("clientOrderID", "")),
            broker_order_id=_text(transaction, "orderID"),
            instrument=instrument,
            units=units,
            price=price,
            time_ns=time_ns,
            realised_profit=_decimal(transaction, "pl"),
            commission=_optional(transaction, "commission") or Decimal(0),
            half_spread_cost=_optional(transaction, "halfSpreadCost") or Decimal(0),
            financing=_optional(transaction, "financing") or Decimal(0),
            account_balance=_optional(transaction, "accountBalance"),
            reason=str(transaction.get("reason", "")),
            closed_trades=(*closed, *taken),
            opened_trade=_text(opened, "tradeID") if opened else "",
            opened_units=_decimal(opened, "units") if opened else Decimal(0),
        )
        # Only what was read to its end is remembered.
        if fill.opened_trade:
            self._trades[fill.opened_trade] = OpenTrade(instrument, fill.opened_units)
        for closing in closed:
            self._trades.pop(closing.trade_id, None)
        for closing in taken:
            known = self._trades.get(closing.trade_id)
            if known:
                self._trades[closing.trade_id] = OpenTrade(instrument, known.units + closing.units)
        return fill


def account_state(summary: Json, time_ns: int) -> AccountState:
    """Read the ``account`` object of a summary or of the full account."""
    return AccountState(
        currency=_text(summary, "currency"),
        balance=_decimal(summary, "balance"),
        net_asset_value=_decimal(summary, "NAV"),
        unrealised_profit=_decimal(summary, "unrealizedPL"),
        margin_used=_decimal(summary, "marginUsed"),
        margin_available=_decimal(summary, "marginAvailable"),
        last_transaction_id=_identifier(summary, "lastTransactionID"),
        time_ns=time_ns,
        hedging_enabled=bool(summary.get("hedgingEnabled", False)),
        open_position_count=_whole(summary, "openPositionCount"),
        open_order_count=_whole(summary, "pendingOrderCount"),
    )


def instrument_of(payload: Json) -> Instrument:
    """Read one entry of the list of instruments."""
    return Instrument(
        name=_text(payload, "name"),
        pip_location=_whole(payload, "pipLocation"),
        display_precision=_whole(payload, "displayPrecision"),
        units_precision=_whole(payload, "tradeUnitsPrecision"),
        minimum_units=_decimal(payload, "minimumTradeSize"),
        maximum_order_units=_decimal(payload, "maximumOrderUnits"),
        margin_rate=_decimal(payload, "marginRate"),
        kind=_text(payload, "type"),
    )


def position_of(payload: Json) -> Position:
    """Read one position. Where a hedging account holds both sides, the net and the price of the larger side."""
    long, short = _object(payload, "long"), _object(payload, "short")
    bought, sold = _decimal(long, "units"), _decimal(short, "units")
    side = long if bought >= -sold else short
    return Position(
        instrument=_text(payload, "instrument"),
        units=bought + sold,
        average_price=_optional(side, "averagePrice") or Decimal(0),
        unrealised_profit=_decimal(payload, "unrealizedPL"),
        long_units=bought,
        long_price=_optional(long, "averagePrice") or Decimal(0),
        short_units=sold,
        short_price=_optional(short, "averagePrice") or Decimal(0),
    )


def open_order(payload: Json, translator: Translator) -> OpenOrder:
    """Read one pending order; a stop or target takes instrument and units from its trade."""
    trade_id = str(payload.get("tradeID", ""))
    trade = translator.trade(trade_id)
    units = _decimal(payload, "units") if "units" in payload else -trade.units if trade else Decimal(0)
    return OpenOrder(
        client_order_id=_client_id(payload),
        broker_order_id=_text(payload, "id"),
        instrument=str(payload.get("instrument", trade.instrument if trade else "")),
        units=units,
        order_type=_text(payload, "type"),
        price=_optional(payload, "price"),
        trade_id=trade_id,
    )


def _closing(part: Json, fill_units: Decimal) -> TradeClose:
    """Read what a fill took off a trade; the sign is that of the fill, however the broker writes it."""
    return TradeClose(
        trade_id=_text(part, "tradeID"),
        units=abs(_decimal(part, "units")).copy_sign(fill_units),
        realised_profit=_optional(part, "realizedPL") or Decimal(0),
    )


def _part(payload: Json, key: str) -> Json | None:
    """Return the object under ``key``, ``None`` where there is none."""
    return None if payload.get(key) is None else _object(payload, key)


def _parts(payload: Json, key: str) -> list[Json]:
    value = payload.get(key) or []
    if not isinstance(value, Sequence) or not all(isinstance(part, Mapping) for part in cast(Sequence[object], value)):
        raise BadInputError(f"the broker's {payload.get('type', 'payload')} has no readable {key}: not used")
    return cast(list[Json], value)


def _client_id(payload: Json) -> str:
    extensions = _part(payload, "clientExtensions")
    return str(extensions.get("id", "")) if extensions else ""


def _text(payload: Json, key: str) -> str:
    value = payload.get(key)
    if not isinstance(value, str) or not value:
        raise BadInputError(f"the broker's {payload.get('type', 'payload')} has no readable {key}: not used")
    return value


def _object(payload: Json, key: str) -> Json:
    value = payload.get(key)
    if not isinstance(value, Mapping):
        raise BadInputError(f"the broker's payload has no {key}: not used")
    return cast(Json, value)


def _whole(payload: Json, key: str) -> int:
    value = payload.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInputError(f"the broker's payload has no whole number in {key}: not used")
    return value


def _identifier(payload: Json, key: str = "id") -> int:
    text = str(payload.get(key, ""))
    if not (text.isascii() and text.isdigit()):
        raise BadInputError(f"the broker's {payload.get('type', 'payload')} has no number in {key}: not used")
    return int(text)


def _decimal(payload: Json, key: str) -> Decimal:
    try:
        value = Decimal(str(payload[key]))
    except (KeyError, InvalidOperation):
        raise BadInputError(f"the broker's {payload.get('type', 'payload')} has no amount in {key}: not used") from None
    if not value.is_finite():
        raise BadInputError(f"the broker's {payload.get('type', 'payload')} has {value} in {key}: not used")
    return value


def _optional(payload: Json, key: str) -> Decimal | None:
    return _decimal(payload, key) if key in payload else None


def _time(payload: Json, key: str) -> int:
    try:
        return from_rfc3339(_text(payload, key))
    except ValueError:
        raise BadInputError(f"the broker's {payload.get('type', 'payload')} has no readable {key}: not used") from None
