"""Stay below the broker's request limit, and stop asking a broker that is down.

All of this runs in the adapter's worker threads and measures real (monotonic) time: the network does not follow a
simulated market clock.
"""

import threading
import time
from collections.abc import Callable

from core.errors import UnavailableError

CONNECT_TIMEOUT_SECONDS = 3.05  # just above a multiple of 3 s, TCP's first retransmission


class TokenBucket:
    """A rate limit shared by the adapter's threads.

    Args:
        rate: requests per second in the long run.
        burst: requests that may go out at once; default a quarter of a second's worth, so that no second ever holds
            more than 1.25 times the rate.
        now: monotonic seconds.
        sleep: how to wait.
    """

    def __init__(
        self,
        rate: float,
        burst: float | None = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._burst = max(1.0, rate / 4.0 if burst is None else burst)
        self._tokens = self._burst
        self._now = now
        self._sleep = sleep
        self._updated = now()
        self._lock = threading.Lock()

    def take_now(self) -> bool:
        """Take one token for an order if it need not wait; never blocks."""
        with self._lock:
            self._refill()
            if self._tokens - 1.0 < -self._burst:
                return False
            self._tokens -= 1.0
            return True

    def take(self, urgent: bool = False) -> None:
        """Take one token; wait until there is one. ``urgent`` (orders) waits only behind a full burst of debt."""
        with self._lock:
            self._refill()
            self._tokens -= 1.0
            allowance = self._burst if urgent else 0.0
            delay = (-self._tokens - allowance) / self._rate
        if delay > 0:
            self._sleep(delay)

    def _refill(self) -> None:
        moment = self._now()
        self._tokens = min(self._burst, self._tokens + (moment - self._updated) * self._rate)
        self._updated = moment


class CircuitBreaker:
    """Refuses calls for a while once ``threshold`` in a row found the broker away; then lets one try.

    The pause doubles from ``first_pause`` to ``longest_pause`` seconds as long as the tries fail.
    """

    def __init__(
        self,
        threshold: int = 5,
        first_pause: float = 1.0,
        longest_pause: float = 30.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threshold = threshold
        self._first_pause = first_pause
        self._longest_pause = longest_pause
        self._now = now
        self._lock = threading.Lock()
        self._failures = 0
        self._pause = first_pause
        self._closed_until: float | None = None

    @property
    def open(self) -> bool:
        """Whether calls are refused at this moment."""
        with self._lock:
            return self._closed_until is not None and self._now() < self._closed_until

    def check(self) -> None:
        """Pass, or refuse the call before anything is sent.

        Raises:
            UnavailableError: the circuit is open.
        """
        with self._lock:
            if self._closed_until is None:
                return
            remaining = self._closed_until - self._now()
            if remaining <= 0:
                # One caller tries; the others stay refused until it has reported.
                self._closed_until = self._now() + self._pause
                return
        raise UnavailableError(
            f"the broker did not answer {self._threshold} times in a row: nothing is sent for another {remaining:.1f} s"
        )

    def succeeded(self) -> None:
        """Report an answer, whatever it said."""
        with self._lock:
            self._failures = 0
            self._pause = self._first_pause
            self._closed_until = None

    def failed(self) -> None:
        """Report that the broker did not answer or answered with a server error."""
        with self._lock:
            self._failures += 1
            if self._failures >= self._threshold:
                self._closed_until = self._now() + self._pause
                self._pause = min(self._pause * 2.0, self._longest_pause)


def backoff_seconds(attempt: int, first: float = 0.25, longest: float = 15.0) -> float:
    """Return the wait before try ``attempt + 1`` (attempts count from 0): doubling, bounded."""
    return min(first * 2.0 ** min(attempt, 16), longest)
