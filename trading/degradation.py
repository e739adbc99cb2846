"""What is missing at the moment: each thing once in the journal when it goes and once when it is back."""

from core.clock import Clock
from core.logging import get_logger
from trading import records
from trading.desk import Desk
from trading.metrics import TraderMetrics

_log = get_logger("trading")


class Degradation:
    """Notes what trading has to do without; the status page and the metrics show it with words and since when."""

    def __init__(self, desk: Desk, clock: Clock, metrics: TraderMetrics) -> None:
        self._desk = desk
        self._clock = clock
        self._metrics = metrics
        self._since = dict.fromkeys(desk.state.degraded, clock.time_ns())
        for what in desk.state.degraded:
            metrics.degraded.labels(what).set(1)

    def begin(self, what: str, words: str) -> None:
        """Note that something is missing; the same words again are no news."""
        if self._desk.state.degraded.get(what) == words:
            return
        now = self._clock.time_ns()
        self._since.setdefault(what, now)
        self._desk.commit(records.Degraded(now, what, words))
        self._metrics.degraded.labels(what).set(1)
        _log.warning("degraded", what=what, words=words)

    def end(self, what: str) -> None:
        """Note that it is back; nothing happens where it was not missing."""
        if what not in self._desk.state.degraded:
            return
        self._since.pop(what, None)
        self._desk.commit(records.Degraded(self._clock.time_ns(), what, "back", over=True))
        self._metrics.degraded.labels(what).set(0)
        _log.info("no longer degraded", what=what)

    def no_new_risk(self) -> str:
        """Return why the whole account may not get more risk, or nothing where it may."""
        return self._desk.state.no_new_risk()

    def since(self) -> dict[str, int]:
        """Return when each missing thing went (UTC ns); of one from before a restart, when this process began."""
        return {what: self._since.get(what, 0) for what in self._desk.state.degraded}
