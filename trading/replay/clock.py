"""The time a replayed session sees: that of the journal."""

import asyncio

from trading import records
from trading.replay.recording import Recording

_GIVEN = (
    records.SessionOpened,
    records.SessionClosed,
    records.QuoteSeen,
    records.HeartbeatSeen,
    records.BrokerSaid,
)


class ReplayClock:
    """Says the time of the entry that is made next, else that of the newest one.

    What a session decides in one go it decides and writes at one time (``core.clock.SteadyClock``), so the next entry's
    time is the one the process read. Where nothing is made before the next thing comes from outside, whatever was due
    then was not due yet: the newest entry's time says so, too.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def time_ns(self) -> int:
        recording = self._recording
        entry, record = recording.entry, recording.current
        if entry is None or isinstance(record, _GIVEN):
            return recording.previous_ns
        return entry.time_ns

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
