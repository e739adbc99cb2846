"""Whether the clock can be believed: it must run as steadily as the machine's ticks, and agree with the feed."""

import time
from collections.abc import Callable

from core.clock import NANOSECONDS, Clock
from core.domain import Heartbeat
from trading.degradation import Degradation

CLOCK = "clock"  # the degradation that stops new risk
TOLERANCE_SECONDS = 2.0  # NTP corrects by milliseconds; a step beyond two seconds is somebody setting the clock
BEHIND_SECONDS = 5.0  # a heartbeat under way for longer than v20 sends them
STEADY_SECONDS = 10.0  # without a jump for so long the clock is believed again


class ClockWatch:
    """Compares the session's clock with the machine's monotonic time and with the feed's heartbeats.

    Args:
        clock: of the session, live.
        degradation: told about jumps; no new risk is taken until the clock was steady for a while.
        speed: seconds of ``clock`` in a second of the machine.
        monotonic: the machine's own seconds.
    """

    def __init__(
        self,
        clock: Clock,
        degradation: Degradation,
        speed: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._degradation = degradation
        self._speed = speed
        self._monotonic = monotonic
        self._last_ns = clock.time_ns()
        self._last = monotonic()
        self._steady_from = 0.0

    def look(self) -> None:
        """Compare both clocks since the last look; call it several times a second."""
        now_ns, now = self._clock.time_ns(), self._monotonic()
        passed = (now - self._last) * self._speed
        jump = (now_ns - self._last_ns) / NANOSECONDS - passed
        self._last_ns, self._last = now_ns, now
        if abs(jump) > TOLERANCE_SECONDS * self._speed:
            self.doubt(f"the clock jumped by {jump:+.1f} s")
        elif self._steady_from and now >= self._steady_from:
            self._steady_from = 0.0
            self._degradation.end(CLOCK)

    def on_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Compare the feed's time with the clock."""
        behind = (heartbeat.arrival_ns - heartbeat.time_ns) / NANOSECONDS
        if behind > BEHIND_SECONDS * self._speed or behind < -TOLERANCE_SECONDS * self._speed:
            self.doubt(f"the feed's time is {-behind:+.1f} s from the clock")

    def doubt(self, words: str) -> None:
        """Believe the clock no more until it was steady for a while."""
        self._steady_from = self._monotonic() + STEADY_SECONDS
        self._degradation.begin(CLOCK, words)
