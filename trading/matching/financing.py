"""Daily financing: what holding a position over 17:00 New York costs or earns.

OANDA, "Financing costs" (help portal and www.oanda.com/forex-trading/analysis/profit-calculator/how): financing =
position value at 17:00 ET x annual rate of the side x 1/365 for each day charged; a negative rate is a cost. Positions
held at 17:00 on a Wednesday are charged three days, because spot then settles over the weekend, and nothing is charged
on Saturday and Sunday: the instruments list the days as ``financingDaysOfWeek``. It is booked by a ``DAILY_FINANCING``
transaction (financing mode ``DAILY``), so fills carry none.

Simplifications: the value is taken at the standing middle price; holidays do not move the days; rates are those of the
account configuration, constant in time, by default minus the 1 % administration fee OANDA adds on most pairs.
"""

from datetime import timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from core.clock import to_datetime, to_ns
from trading.matching.book import AccountConfiguration, PositionTotals, Trade
from trading.matching.log import TransactionLog
from trading.matching.schedule import day_end
from trading.matching.transactions import DailyFinancing, OpenTradeFinancing, PositionFinancing
from trading.matching.wire import ZERO, ZERO_MONEY, money

_NEW_YORK = ZoneInfo("America/New_York")
_YEAR = Decimal(365)
DAYS_CHARGED = (1, 1, 3, 1, 1, 0, 0)  # Monday to Sunday


def rates_of(configuration: AccountConfiguration, name: str) -> tuple[Decimal, Decimal]:
    """Return the annual rates of a long and of a short position; zero where the account is not financed."""
    if not configuration.financing:
        return ZERO, ZERO
    default = configuration.default_financing_rate
    return configuration.financing_rates.get(name, (default, default))


class Financing:
    """Charges one account."""

    def __init__(self, log: TransactionLog) -> None:
        self.log = log
        if log.book.configuration.financing and log.book.next_financing_ns is None:
            log.book.next_financing_ns = day_end(log.book.time_ns)

    def due_ns(self) -> int | None:
        """Return when the next charge is due, None for never."""
        return self.log.book.next_financing_ns

    def charge(self) -> None:
        """Charge what is held now, the moment that was due, and find the next one."""
        log = self.log
        due = log.book.next_financing_ns
        if due is None:
            return
        following = to_datetime(due).astimezone(_NEW_YORK) + timedelta(days=1)
        log.book.next_financing_ns = to_ns(following)
        days = DAYS_CHARGED[to_datetime(due).astimezone(_NEW_YORK).weekday()]
        if not days or not log.open_trades:
            return
        parts = [self._position(name, days) for name in sorted(log.open_trades)]
        total = sum((part.financing for part in parts), ZERO_MONEY)
        log.book.balance += total
        log.book.financing += total
        log.begin(by_client=False)
        log.write(
            DailyFinancing,
            financing=total,
            account_balance=log.book.balance,
            account_financing_mode="DAILY",
            position_financings=tuple(parts),
        )

    def _position(self, name: str, days: int) -> PositionFinancing:
        log = self.log
        totals = log.book.positions.setdefault(name, PositionTotals())
        items: list[OpenTradeFinancing] = []
        for trade in log.open_trades[name].values():
            amount = self._trade(trade, days)
            trade.financing += amount
            side = totals.long if trade.units > 0 else totals.short
            side.financing += amount
            items.append(OpenTradeFinancing(trade_id=trade.id, financing=amount))
        return PositionFinancing(
            instrument=name,
            financing=sum((item.financing for item in items), ZERO_MONEY),
            open_trade_financings=tuple(items),
        )

    def _trade(self, trade: Trade, days: int) -> Decimal:
        market = self.log.market
        long, short = rates_of(self.log.book.configuration, trade.instrument)
        rate = long if trade.units > 0 else short
        amount = abs(trade.units) * market.middle(trade.instrument) * rate * days / _YEAR
        return money(market.to_home(amount, market.instruments[trade.instrument].quote))
