"""Closing trades and positions: market orders the client asks for in other words."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Protocol

import msgspec

from trading.matching.book import Trade
from trading.matching.commands import ClosePosition, CloseTrade, MarketOrderOrigin, OrderSpecification
from trading.matching.log import TransactionLog
from trading.matching.rejection import reject
from trading.matching.transactions import ClientExtensions, PositionCloseoutDetails, TradeCloseDetails
from trading.matching.valuation import held_units


class _Create(Protocol):
    def __call__(
        self, spec: OrderSpecification, origin: MarketOrderOrigin, *, only_trade: Trade | None = None
    ) -> None: ...


class Closing:
    """Turns requests to close into market orders."""

    def __init__(
        self, log: TransactionLog, refusal: Callable[[OrderSpecification], str | None], create: _Create
    ) -> None:
        """Take the order desk's check and its way to make an order."""
        self.log = log
        self._refusal = refusal
        self._create = create

    def close_trade(self, command: CloseTrade) -> None:
        """Close a trade or part of it with a market order."""
        log = self.log
        trade = log.find_trade(command.trade)
        written = "ALL" if command.units is None else f"{command.units:f}"
        origin = MarketOrderOrigin(
            reason="TRADE_CLOSE",
            trade_close=TradeCloseDetails(trade_id=trade.id if trade else command.trade.lstrip("@"), units=written),
        )
        name = trade.instrument if trade else None
        size = None if trade is None else abs(trade.units) if command.units is None else command.units
        spec = OrderSpecification(
            instrument=name,
            units=None if trade is None or size is None else -size.copy_sign(trade.units),
            position_fill="REDUCE_ONLY",
            client_extensions=command.client_extensions,
        )
        if trade is None or not trade.units:
            reject(self.log, spec, "TRADE_DOESNT_EXIST", origin=origin)
            return
        reason = "UNITS_INVALID" if command.units is not None and command.units <= 0 else self._refusal(spec)
        if reason is None and size is not None and size > abs(trade.units):
            reason = "CLOSE_TRADE_UNITS_EXCEED_TRADE_SIZE"
        if reason is not None:
            reject(self.log, spec, reason, origin=origin)
            return
        self._create(spec, origin, only_trade=trade)

    def close_position(self, command: ClosePosition) -> None:
        """Close the long side, the short side, or both; if one that was named cannot be closed, nothing is."""
        held = held_units(self.log.open_trades.get(command.instrument, {}))
        sides = (
            (True, command.long_units, command.long_client_extensions),
            (False, command.short_units, command.short_client_extensions),
        )
        wanted: list[tuple[OrderSpecification, MarketOrderOrigin, str | None]] = []
        unsaid = command.long_units is None and command.short_units is None
        for long, units, extensions in sides:
            size = held[0 if long else 1]
            nothing_to_say = units is None and not size and not (unsaid and long and not any(held))
            if units == "NONE" or nothing_to_say:
                continue
            wanted.append(self._closeout(command.instrument, long, units or "ALL", size, extensions))
        if not wanted:
            spec = OrderSpecification(instrument=command.instrument, position_fill="REDUCE_ONLY")
            origin = MarketOrderOrigin(reason="POSITION_CLOSEOUT")
            reject(self.log, spec, "CLOSEOUT_POSITION_INCOMPLETE_SPECIFICATION", origin=origin)
        failed = any(reason for _, _, reason in wanted)
        for spec, origin, reason in wanted:
            if reason is not None:
                reject(self.log, spec, reason, origin=origin)
            elif not failed:
                self._create(spec, origin)

    def _closeout(
        self, name: str, long: bool, units: str, held: Decimal, extensions: ClientExtensions | None
    ) -> tuple[OrderSpecification, MarketOrderOrigin, str | None]:
        details = PositionCloseoutDetails(instrument=name, units=units)
        origin = MarketOrderOrigin(
            reason="POSITION_CLOSEOUT",
            long_position_closeout=details if long else None,
            short_position_closeout=None if long else details,
        )
        try:
            size = held if units == "ALL" else Decimal(units)
        except InvalidOperation:
            size = Decimal("NaN")
        signed = (-size if long else size) if size else None
        spec = OrderSpecification(
            instrument=name, units=signed, position_fill="REDUCE_ONLY", client_extensions=extensions
        )
        if not held:
            return msgspec.structs.replace(spec, units=None), origin, "CLOSEOUT_POSITION_DOESNT_EXIST"
        if not size.is_finite() or size <= 0:
            return msgspec.structs.replace(spec, units=None), origin, "UNITS_INVALID"
        reason = "CLOSEOUT_POSITION_UNITS_EXCEED_POSITION_SIZE" if size > held else self._refusal(spec)
        return spec, origin, reason
