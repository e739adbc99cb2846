"""Read ``since`` and ``until`` as people write them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from core.clock import from_rfc3339, to_ns
from core.errors import BadInputError


def parse_range(since: Any, until: Any) -> tuple[int | None, int | None]:
    """Return ``since <= t < until`` in UTC nanoseconds.

    Both may be None, a date (``since`` from its first moment, ``until`` through its last) or a moment with a zone.

    Raises:
        BadInputError: a value is no time, or the range is empty.
    """
    start, end = parse_moment(since, "since"), parse_moment(until, "until", end_of_day=True)
    if start is not None and end is not None and start >= end:
        raise BadInputError(f"since {since} is after until {until}: swap them")
    return start, end


def parse_moment(value: Any, name: str, end_of_day: bool = False) -> int | None:
    """Return one moment in UTC nanoseconds; a bare date is midnight UTC, or the next one with ``end_of_day``.

    Raises:
        BadInputError: the value is no time.
    """
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        try:
            value = date.fromisoformat(text) if len(text) <= 10 else from_rfc3339(text)
        except ValueError:
            raise BadInputError(f"{name} is {text!r}: write a date like 2014-05-01 or 2014-05-01T09:00:00Z") from None
    if isinstance(value, bool):
        raise BadInputError(f"{name} is {value}: write a date like 2014-05-01")
    if isinstance(value, int):
        return value
    if isinstance(value, datetime):
        return to_ns(value if value.tzinfo is not None else value.replace(tzinfo=UTC))
    if isinstance(value, date):
        day = value + timedelta(days=1) if end_of_day else value
        return to_ns(datetime(day.year, day.month, day.day, tzinfo=UTC))
    raise BadInputError(f"{name} is {value!r}: write a date like 2014-05-01")
