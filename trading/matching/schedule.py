"""When orders expire. GFD orders live until 17:00 New York, the end of the FX trading day."""

from datetime import time, timedelta
from zoneinfo import ZoneInfo

from core.clock import from_rfc3339, to_datetime, to_ns
from trading.matching.book import Order

_NEW_YORK = ZoneInfo("America/New_York")
_DAY_END = time(17)


def day_end(time_ns: int) -> int:
    """Return the first 17:00 New York after ``time_ns``."""
    local = to_datetime(time_ns).astimezone(_NEW_YORK)
    end = local.replace(hour=_DAY_END.hour, minute=0, second=0, microsecond=0)
    if end <= local:
        end = (end + timedelta(days=1)).replace(hour=_DAY_END.hour)
    return to_ns(end)


def parse_time(text: str) -> int:
    """Parse a protocol time: RFC 3339, or UNIX seconds with a fraction.

    Raises:
        ValueError: the text is neither.
    """
    if "T" in text:
        return from_rfc3339(text)
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0")[:9] or 0)


def expiry(order: Order) -> int | None:
    """Return when a pending order expires by itself, None for never."""
    if order.time_in_force == "GTD" and order.gtd_time is not None:
        return parse_time(order.gtd_time)
    if order.time_in_force == "GFD":
        return day_end(from_rfc3339(order.create_time))
    return None
