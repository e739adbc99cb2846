"""The time a replayed session sees: that of the journal."""

import asyncio

from trading.replay.recording import Recording


class ReplayClock:
    """Says what the recorded process read at this place."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def time_ns(self) -> int:
        return self._recording.time_ns

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
