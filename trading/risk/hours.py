"""When no new risk is taken: the roll-over at 17:00 New York, and the end of the trading week."""

import numpy as np

from core.domain import RejectReason
from data.calendar import ForexCalendar, calendar_of
from data.granularity import DAY, MINUTE
from data.timezones import wall_clock
from trading.risk.parameters import RiskParameters

_ROLL = 7 * 3600 * 1_000_000_000  # New York's 17:00 plus this is midnight
_NEVER = (0, 0)


class TradingHours:
    """Answers for one moment; the calendar is asked once a trading day, for an order must not wait for it."""

    def __init__(self, limits: RiskParameters) -> None:
        self._before = _nanoseconds(limits.rollover_minutes_before)
        self._after = _nanoseconds(limits.rollover_minutes_after)
        self._close = _nanoseconds(limits.close_minutes_before)
        self._calendars: dict[str, ForexCalendar] = {}
        self._day = _NEVER  # start and end of the trading day of the last answer
        self._sessions: dict[str, tuple[int, int]] = {}  # open and close of that day's session, by instrument kind

    def refusal(self, kind: str, now_ns: int) -> tuple[RejectReason, str] | None:
        """Return why no new risk may be taken now in an instrument of this kind, or None.

        Args:
            kind: of the instrument (``CURRENCY``, ``METAL``): metals rest an hour after the roll-over.
            now_ns: UTC nanoseconds.
        """
        if self._close is None and self._before is None:
            return None
        self._turn_to(now_ns)
        start, end = self._day
        if self._before is not None and self._after is not None:
            minutes = (now_ns - start) / MINUTE
            if now_ns < start + self._after:
                return (
                    RejectReason.ROLLOVER_WINDOW,
                    f"{minutes:.1f} min after 17:00 New York, limit {self._words(False)}",
                )
            if now_ns >= end - self._before:
                left = (end - now_ns) / MINUTE
                return RejectReason.ROLLOVER_WINDOW, f"{left:.1f} min before 17:00 New York, limit {self._words(True)}"
        if self._close is not None:
            opened, closes = self._session(kind, now_ns)
            if not opened <= now_ns < closes:
                return RejectReason.OUTSIDE_HOURS, "the market is closed"
            if now_ns >= closes - self._close:
                left = (closes - now_ns) / MINUTE
                return (
                    RejectReason.OUTSIDE_HOURS,
                    f"{left:.1f} min before the close, limit {self._close / MINUTE:g} min",
                )
        return None

    def _words(self, before: bool) -> str:
        return f"{((self._before if before else self._after) or 0) / MINUTE:g} min"

    def _turn_to(self, now_ns: int) -> None:
        if self._day[0] <= now_ns < self._day[1]:
            return
        clock = wall_clock("America/New_York")
        local = int(clock.local(np.array([now_ns], np.int64))[0])
        day = (local + _ROLL) // DAY
        bounds, _ = clock.utc(np.array([day * DAY - _ROLL, (day + 1) * DAY - _ROLL], np.int64))
        self._day = (int(bounds[0]), int(bounds[1]))
        self._sessions.clear()

    def _session(self, kind: str, now_ns: int) -> tuple[int, int]:
        """Return the session around a moment; an empty one where the market is closed."""
        known = self._sessions.get(kind)
        if known is None or not known[0] <= now_ns < known[1]:
            calendar = self._calendars.setdefault(kind, calendar_of(kind))
            opens, closes = calendar.sessions(now_ns, now_ns + 1)
            known = (int(opens[0]), int(closes[0])) if len(opens) else _NEVER
            self._sessions[kind] = known
        return known


def _nanoseconds(minutes: float | None) -> int | None:
    return None if minutes is None else round(minutes * MINUTE)
