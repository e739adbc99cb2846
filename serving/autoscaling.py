"""How many replicas the load needs, by how busy they are.

Ray Serve scales by the requests under way in a replica. Ours answers one in tens of microseconds on its event loop and
so is hardly ever seen with two: sixteen clients that ask without pause were measured as no reason for a second replica.
What a replica runs out of is processor time, and that is what counts here.
"""

import math
import time
from typing import Any

BUSY = "busy"


class BusyShare:
    """Measures the processor time of this process; 1.0 is one core."""

    def __init__(self) -> None:
        self._wall, self._used = time.monotonic(), time.process_time()

    def since_last(self) -> float:
        """Return the share of a core used since the last call, or since it was made."""
        wall, used = time.monotonic(), time.process_time()
        passed, spent = wall - self._wall, used - self._used
        self._wall, self._used = wall, used
        return spent / passed if passed > 0 else 0.0


class MeasuredReplica:
    """The class behind the ingress: Serve asks it for figures while it scales."""

    def __init__(self) -> None:
        self._share = BusyShare()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return how busy the replica was since the last call."""
        return {BUSY: self._share.since_last()}


class BusyPolicy:
    """Serve's autoscaling policy: as many replicas as keep each one at the target.

    Serve applies bounds and delays itself. It sends the class by value to its controller.
    """

    def __init__(self, target_busy: float) -> None:
        """``target_busy`` is the share of a core that a replica should use."""
        self._target = target_busy

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """Return the number of replicas wanted and the policy's state."""
        shares: dict[Any, float] = (context.aggregated_metrics or {}).get(BUSY, {})
        if not shares:
            return context.target_num_replicas, {}  # nothing was measured yet: no reason to change
        return max(math.ceil(sum(shares.values()) / self._target), 1), {}
