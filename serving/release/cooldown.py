"""The cool-down: after a rollback the figures need time to mean the new policy, and a guard must not flap.

It is read from the rollback records on disk, so that a restart of everything does not shorten it.
"""

from pathlib import Path

import msgspec

from core.clock import NANOSECONDS
from serving.release.rollback_record import newest_record


class CoolDown(msgspec.Struct, frozen=True):
    """How long a strategy is still left alone. ``until_ns`` 0: it was never rolled back."""

    until_ns: int = 0
    rollback_id: str = ""

    def active(self, now_ns: int) -> bool:
        """Whether the cool-down lasts."""
        return now_ns < self.until_ns

    def seconds_left(self, now_ns: int) -> float:
        """How long it still lasts; 0 where it is over."""
        return max(0, self.until_ns - now_ns) / NANOSECONDS


def cool_down(folder: Path, seconds: float) -> CoolDown:
    """Return the cool-down of the strategy whose folder this is.

    Args:
        folder: ``<state>/serving/<strategy>``.
        seconds: length, from the moment the newest rollback was asked for.

    Raises:
        IntegrityError: a rollback record is damaged.
    """
    newest = newest_record(folder)
    if newest is None:
        return CoolDown()
    return CoolDown(newest.time_ns + round(seconds * NANOSECONDS), newest.rollback_id)
