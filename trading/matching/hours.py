"""When the exchange trades: weekends, holidays and daily maintenance, as a pure function of time.

Weekends, holidays and the daily rest of metals are those of ``data.calendar``. A maintenance window is local New York
time, minutes after midnight; OANDA announces its own around 17:00 on trading days, when the books are rolled.
"""

from collections.abc import Mapping
from datetime import timedelta
from zoneinfo import ZoneInfo

import numpy as np

from core.clock import to_datetime, to_ns
from core.domain import Instrument
from data.calendar import calendar_of
from trading.matching.book import AccountConfiguration

_NEW_YORK = ZoneInfo("America/New_York")
_DAY_NS = 86_400 * 1_000_000_000
_NEVER = 2**62


class TradingHours:
    """The open hours of the instruments of one exchange. Both kinds of halts are off unless configured."""

    def __init__(self, configuration: AccountConfiguration, instruments: Mapping[str, Instrument]) -> None:
        self._weekends = configuration.weekend_halt
        self._windows = configuration.maintenance
        self._kinds = {name: item.kind for name, item in instruments.items()}
        self._known: dict[str, tuple[int, int, bool]] = {}  # by kind: valid from, until, open

    @property
    def limited(self) -> bool:
        """Whether there are any hours in which nothing trades."""
        return self._weekends or bool(self._windows)

    def is_open(self, name: str, time_ns: int) -> bool:
        """Return whether an instrument trades at a moment."""
        return self._stretch(self._kinds[name], time_ns)[2] if self.limited else True

    def next_change(self, name: str, time_ns: int) -> int:
        """Return when that changes next, far in the future if never."""
        return self._stretch(self._kinds[name], time_ns)[1] if self.limited else _NEVER

    def _stretch(self, kind: str, time_ns: int) -> tuple[int, int, bool]:
        known = self._known.get(kind)
        if known is None or not known[0] <= time_ns < known[1]:
            known = self._known[kind] = self._compute(kind, time_ns)
        return known

    def _compute(self, kind: str, time_ns: int) -> tuple[int, int, bool]:
        begin, end, is_open = time_ns, _NEVER, True
        if self._weekends:
            calendar = calendar_of(kind)
            is_open = calendar.open_at(time_ns)
            opens, closes = calendar.sessions(time_ns - _DAY_NS, time_ns + 10 * _DAY_NS)
            changes = closes if is_open else opens
            end = int(changes[np.searchsorted(changes, time_ns, side="right")])
        for start, finish in self._around(time_ns):
            if start <= time_ns < finish:
                return begin, min(finish, end), False
            if time_ns < start:
                end = min(end, start)
        return begin, end, is_open

    def _around(self, time_ns: int) -> list[tuple[int, int]]:
        """Return the maintenance windows of yesterday, today and tomorrow."""
        if not self._windows:
            return []
        midnight = to_datetime(time_ns).astimezone(_NEW_YORK).replace(hour=0, minute=0, second=0, microsecond=0)
        windows: list[tuple[int, int]] = []
        for days in (-1, 0, 1):
            day = midnight + timedelta(days=days)  # local: the window keeps its time of day over a clock change
            for start, finish in self._windows:
                length = finish - start if finish > start else finish + 1440 - start
                begin = day + timedelta(minutes=start)
                windows.append((to_ns(begin), to_ns(begin) + length * 60 * 1_000_000_000))
        return windows
