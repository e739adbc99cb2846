"""Every record goes through here: written first, then applied. So does what the broker says, each thing once."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from core.clock import Clock
from core.crash_points import reach
from core.domain import BrokerEvent, Instrument, OrderFilled, OrderRejected, Quote
from core.errors import ConfigurationError, RefusedError, UnavailableError
from core.journal import Appender
from core.logging import get_logger
from trading import records
from trading.brokers.interface import Broker
from trading.latency import LatencyRecorder
from trading.metrics import TraderMetrics
from trading.records import encode
from trading.risk.exposure import conversion_rates
from trading.risk.limits import RiskState
from trading.state import SessionState

_log = get_logger("trading")

Result = TypeVar("Result")
Observer = Callable[[Any, int], None]  # a record of the kinds it asked for, and its time


@runtime_checkable
class Counted(Protocol):
    """A broker in this process: the id of its newest transaction can be looked at."""

    @property
    def transactions_so_far(self) -> int: ...


@runtime_checkable
class Keeping(Protocol):
    """A broker in this process, whose account may end with it."""

    @property
    def keeps(self) -> bool: ...


class Intake:
    """Writes records and applies them; fetches and applies the broker's transactions.

    Attributes:
        state: the fold of every record written.
        instruments: what the session trades.
        quotes: the standing quotes by instrument.
        simulated: whether one of the quotes was nobody's.
        latency: of each hop, in nanoseconds.
        behind: whether the stream has left something out that could not be fetched yet.
    """

    def __init__(
        self,
        broker: Broker,
        journal: Appender,
        clock: Clock,
        state: SessionState,
        instruments: Mapping[str, Instrument],
        account_currency: str,
        latency: LatencyRecorder,
        metrics: TraderMetrics,
    ) -> None:
        self._broker = broker
        self._counted = broker if isinstance(broker, Counted) else None
        self._fleeting = isinstance(broker, Keeping) and not broker.keeps
        self._journal = journal
        self._append = journal.append
        self._clock = clock
        self._account_currency = account_currency
        self.latency = latency
        self._metrics = metrics
        metrics.hops.latency = latency
        self.state = state
        self.instruments = instruments
        self.quotes: dict[str, Quote] = {}
        self._rated: list[Quote] = []  # the quotes that the rates are of
        self._rates = conversion_rates({}, account_currency)
        self._observers: dict[type[records.Record], tuple[Observer, ...]] = dict.fromkeys(records.KINDS, ())
        self.simulated = False
        self.behind = False

    def observe(self, observer: Observer, kinds: Iterable[type[records.Record]] = tuple(records.KINDS)) -> None:
        """Have each record of these kinds handed to ``observer`` with its time, after it was applied."""
        for kind in kinds:
            self._observers[kind] += (observer,)

    def commit(self, record: records.AnyRecord) -> None:
        """Write a record, then let it change the state: in this order, here and nowhere else."""
        now = self._clock.time_ns()
        kind, durable = records.KINDS[type(record)]
        self._append(kind, encode(record), now, durable)
        self.state.apply(record)
        for observer in self._observers[type(record)]:
            observer(record, now)

    def note(self, quote: Quote, now_ns: int) -> None:
        """Let a quote stand and write it: what ``commit`` does, where there is no state to change.

        Args:
            quote: the newest of its instrument.
            now_ns: of the session's clock, read by whoever looked at the quote.
        """
        self.quotes[quote.instrument] = quote
        record = records.QuoteSeen(quote)
        self._append("quote", encode(record), now_ns)
        if quote.simulated:
            self.simulated = True
        for observer in self._observers[records.QuoteSeen]:
            observer(record, now_ns)

    def note_run(
        self,
        newest: Sequence[Quote],
        times: NDArray[np.int64],
        payloads: NDArray[np.uint8],
        sizes: NDArray[np.int64],
    ) -> None:
        """Let the newest of many quotes stand, and write all of them: what ``note`` would do with each.

        Args:
            newest: the last one of each instrument that quoted.
            times: int64 [n], the session's time at each.
            payloads, sizes: their records, as ``Journal.append_run`` takes them.
        """
        for quote in newest:
            self.quotes[quote.instrument] = quote
            self.simulated = self.simulated or quote.simulated
        self._journal.append_run("quote", times, payloads, sizes)

    def hears(self, kind: type[records.Record]) -> bool:
        """Whether somebody observes records of a kind."""
        return bool(self._observers[kind])

    def flush(self) -> None:
        """Make what was written survive the death of this process, before the world moves on.

        An account that dies with the process has no such world: its session waits for the group commit.
        """
        if not self._fleeting:
            self._journal.flush()

    # -- money at the standing quotes ----------------------------------------------------------------------------

    def rates(self) -> dict[str, float]:
        """The account currency's worth of one unit of each currency, at the standing quotes. To look at."""
        standing = list(self.quotes.values())
        if standing != self._rated:  # the same objects within one step
            self._rates = conversion_rates(self.quotes, self._account_currency)
            self._rated = standing
        return self._rates

    def unrealised(self, rates: Mapping[str, float]) -> float:
        """Profit of the open positions if closed at the standing quotes, in account currency."""
        total = 0.0
        for name in self.state.positions.held():
            quote = self.quotes.get(name)
            if quote is not None:
                counter = name.partition("_")[2]
                total += self.state.positions.unrealised(name, quote.bid, quote.ask) * rates.get(counter, 0.0)
        return total

    def equity(self, rates: Mapping[str, float]) -> float:
        """Balance and unrealised profit in account currency."""
        return float(self.state.balance) + self.unrealised(rates)

    def held(self) -> dict[str, Decimal]:
        """Signed open units by instrument."""
        return self.state.positions.held()

    # -- what the broker says ------------------------------------------------------------------------------------

    async def take_reply(self, events: list[BrokerEvent]) -> None:
        """Apply the events of a reply. Where an earlier transaction is missing, fetch it first: order matters.

        Raises:
            UnavailableError: it cannot be fetched; nothing of the reply was applied.
        """
        numbers = [event.transaction_id for event in events if event.transaction_id]
        if numbers and min(numbers) > self.state.newest_transaction + 1:
            await self.catch_up()
        for event in sorted(events, key=_number):
            self.take(event, "reply")

    def take(self, event: BrokerEvent, source: str) -> None:
        """Apply one event of the broker unless it was seen before, by whichever way."""
        if not self.state.is_new(event.transaction_id):
            return
        violations = len(self.state.violations)
        self.commit(records.BrokerSaid(event, source))
        reach("event.written")
        if len(self.state.violations) > violations:
            self.halt("ILLEGAL_TRANSITION", self.state.violations[-1])
        if isinstance(event, OrderFilled):
            self._metrics.fills.inc()
            instrument = event.fill.instrument
            self._metrics.position.labels(instrument).set(float(self.state.positions.units(instrument)))
        elif isinstance(event, OrderRejected):
            self._metrics.rejects.labels(event.reject_reason.value).inc()

    async def take_streamed(self, event: BrokerEvent) -> None:
        """Apply an event of the stream. Where it leaves one out, the history is asked instead: order matters."""
        number = event.transaction_id
        if number > self.state.newest_transaction + 1 and self.state.is_new(number):
            self.behind = True
            try:
                await self.catch_up()
            except UnavailableError as error:
                _log.warning(
                    "the stream left something out, the history is away", transaction=number, words=error.message
                )
                return
        self.take(event, "stream")

    def is_caught_up(self) -> bool:
        """Whether the broker is known without asking to have nothing that ``catch_up`` would fetch."""
        if self._counted is None or self.behind or self._counted.transactions_so_far != self.state.caught_up:
            return False
        reach("catch_up.fetched")
        reach("catch_up.applied")
        return True

    async def catch_up(self) -> None:
        """Fetch and apply every transaction since the last one known to be complete.

        Raises:
            UnavailableError: the broker does not answer.
        """
        events = await self.read(self._broker.transactions_since(self.state.caught_up))
        reach("catch_up.fetched")
        self.take_history(events)

    def take_history(self, events: list[BrokerEvent]) -> None:
        """Apply every transaction since one that was known to be complete."""
        newest = self.state.caught_up
        for event in sorted(events, key=_number):
            self.take(event, "catch_up")
            newest = max(newest, event.transaction_id)
        self.behind = False
        reach("catch_up.applied")
        if newest > self.state.caught_up:
            self.commit(records.CaughtUp(newest))

    async def read(self, question: Awaitable[Result]) -> Result:
        """Await the broker's answer to a question that changes nothing.

        Raises:
            UnavailableError: there is none. Where the broker forbids to ask, trading is halted.
        """
        try:
            return await question
        except (ConfigurationError, RefusedError) as error:
            self.forbidden(error.message)
            raise UnavailableError(error.message) from error

    def forbidden(self, words: str) -> None:
        """Halt because the broker refuses the token or the account: it would take no order, and we see no fill."""
        self.halt("BROKER_FORBIDDEN", words)

    def halt(self, reason: str, words: str, state: RiskState = RiskState.HALTED) -> None:
        """Do less from now on; only a person lifts it."""
        if self.state.risk_state is not RiskState.HALTED and self.state.risk_state is not state:
            self.commit(records.RiskStateChanged(state, self._clock.time_ns(), reason, words))
            _log.error("risk state changed", state=state.value, reason=reason, words=words)

    def _measure(self, hop: str, nanoseconds: int) -> None:
        self.latency.add(hop, nanoseconds)


def _number(event: BrokerEvent) -> int:
    return event.transaction_id
