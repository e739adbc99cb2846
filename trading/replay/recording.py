"""The journal as a replay walks through it: one cursor that every record, given or made again, moves by one."""

from collections.abc import Callable, Iterator
from pathlib import Path

from core.domain import BrokerEvent, OrderFilled
from core.journal import Entry, read_entries
from trading import records
from trading.replay.difference import Difference, compare

# Begins the work of another process: a trader's, or a command's that acted without one.
Start = records.SessionOpened | records.SettledByHand


class ReplayStopped(BaseException):
    """A replay cannot go on. No ``Exception``: nothing in the loop may catch it and carry on with less."""


class ProcessDied(ReplayStopped):
    """The recorded process ended here, before it could write what it was about to."""


class Differs(ReplayStopped):
    """The replay made something else than the journal holds."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(f"entry {difference.sequence}")
        self.difference = difference


class Recording:
    """Entries, their records and the cursor.

    Attributes:
        cursor: index of the next entry; everything before it was made again or given.
        given: how many of them were given by ``give``.
        inject: takes the record at the cursor into the session being replayed, as if it had just happened; set by
            whoever has that session.
    """

    def __init__(self, journal: Path, until: int | None = None) -> None:
        """Read a journal.

        Args:
            journal: its folder.
            until: the last sequence to replay; None: all of them.

        Raises:
            BadInputError: there is no journal.
            IntegrityError: it is damaged, or no trading session's.
        """
        self.entries: list[Entry] = list(read_entries(journal, last=until))
        self.records: list[records.AnyRecord] = [records.decode(entry) for entry in self.entries]
        self.cursor = 0
        self.given = 0
        self._resumed = 0  # where the cursor stood after the newest wait
        self.inject: Callable[[records.AnyRecord], None] = lambda _: None
        self._events: dict[int, BrokerEvent] = {
            record.event.transaction_id: record.event
            for record in self.records
            if isinstance(record, records.BrokerSaid) and record.event.transaction_id
        }

    @property
    def current(self) -> records.AnyRecord | None:
        """The record at the cursor; None at the end of the journal."""
        return self.records[self.cursor] if self.cursor < len(self.records) else None

    @property
    def entry(self) -> Entry | None:
        """The entry at the cursor; None at the end of the journal."""
        return self.entries[self.cursor] if self.cursor < len(self.entries) else None

    def _left(self) -> Iterator[records.AnyRecord]:
        """Yield the records from the cursor on, without copying what is left of a long journal."""
        for index in range(self.cursor, len(self.records)):
            yield self.records[index]

    def ahead(self) -> Iterator[records.AnyRecord]:
        """Yield the records from the cursor to the next event of the feed or the next start of the process."""
        for record in self._left():
            if isinstance(record, records.QuoteSeen | records.HeartbeatSeen | Start):
                return
            yield record

    def event(self, transaction_id: int) -> BrokerEvent | None:
        """Return the broker's event of that transaction, wherever the journal has it."""
        return self._events.get(transaction_id)

    def events_of(self, client_order_id: str, up_to: int) -> list[BrokerEvent]:
        """Return the events of one order with transactions up to ``up_to``, in order."""
        return [
            event
            for number, event in sorted(self._events.items())
            if number <= up_to and order_of(event) == client_order_id
        ]

    def ends_here(self) -> bool:
        """Whether the recorded process wrote nothing more: the journal ends, or a later process begins.

        What a person wrote into the journal of a stopped session (a restriction lifted) stands between the two.
        """
        for record in self._left():
            if isinstance(record, Start):
                return True
            if not (isinstance(record, records.RiskStateChanged) and record.by_hand):
                return False
        return True

    def is_ending(self, beside: Callable[[records.AnyRecord], bool]) -> bool:
        """Whether the loop had ended: up to the end of the process stands only what ``beside`` says and its close."""
        for record in self._left():
            if isinstance(record, Start):
                break
            by_hand = isinstance(record, records.RiskStateChanged) and record.by_hand
            if not (beside(record) or by_hand or isinstance(record, records.SessionClosed)):
                return False
        return True

    def give(self) -> None:
        """Take the record at the cursor into the session as it stands: it came from outside of what is replayed."""
        record = self.current
        assert record is not None
        before = self.cursor
        self.inject(record)
        if self.cursor == before:  # a transaction the session has applied already: the process had not
            raise self.missing()
        self.given += 1

    def give_while(self, wanted: Callable[[records.AnyRecord], bool]) -> None:
        """Give records as long as ``wanted`` says so."""
        while (record := self.current) is not None and wanted(record):
            self.give()

    def give_pending(self) -> None:
        """Give what other tasks of the process brought in while it waited: the broker's stream, the database."""
        self.give_while(is_from_beside)

    def waited(self) -> None:
        """The process waited here for something outside: others had their turn, and time went on."""
        self.give_pending()
        self._resumed = self.cursor

    @property
    def time_ns(self) -> int:
        """The time the process read here.

        What it did between two waits it did at one time (``core.clock.SteadyClock``): after an entry of its own that is
        the entry's, after a wait that of the next entry if the loop made it. Else nothing came of the reading.
        """
        entry, record = self.entry, self.current
        if self.cursor > self._resumed or entry is None or not is_made_by_the_loop(record):
            return self.entries[self.cursor - 1].time_ns if self.cursor else 0
        return entry.time_ns

    def accept(self, payload: bytes) -> None:
        """Compare what the replay wrote with the entry at the cursor, and go on.

        Raises:
            ProcessDied: the recorded process did not get as far as this.
            Differs: it wrote something else.
        """
        entry, record = self.entry, self.current
        if entry is None or record is None:
            raise ProcessDied
        # An entry of an older version lacks fields that have defaults now: then the record decides, not its bytes.
        if payload != entry.payload and payload != records.encode(record):
            if self.ends_here():
                raise ProcessDied
            made = records.decode(Entry(entry.sequence, entry.time_ns, entry.kind, payload, False))
            raise Differs(compare(entry, record, made))
        self.cursor += 1

    def missing(self) -> Differs:
        """Return the error for a recorded entry that the replay did not make."""
        return Differs(compare(self.entry, self.current, None))


_OF_THE_LOOP = frozenset({"prediction", "price", "broker"})  # degradations that the loop finds by itself


def is_from_beside(record: records.AnyRecord) -> bool:
    """Whether a record was brought in from beside the loop, at one of its waits.

    So came everything the broker said that was no reply: a transaction counts once, whichever way it came first.
    """
    match record:
        case records.BrokerSaid(source=source):
            return source != "reply"
        case records.CaughtUp() | records.QuoteRefused():
            return True  # of a refused price only the refusal is in the journal
        case records.Degraded(what=what):
            return what not in _OF_THE_LOOP
        case records.RiskStateChanged(reason=reason):
            return reason == "BROKER_FORBIDDEN"  # to whichever request: what became of that one follows
        case _:
            return False


_MADE = (
    records.StepClosed,
    records.PredictionsMade,
    records.ScoringNoted,
    records.DecisionMade,
    records.OrderBlocked,
    records.OrderSubmitted,
    records.OrderUnresolved,
    records.OrderNotSent,
    records.OrderResolved,
    records.CancelRequested,
    records.AmendRequested,
    records.OrdersListed,
    records.RequestFailed,
    records.StepDone,
    records.StepMissed,
    records.RiskStateChanged,
    records.KillSwitchSet,
    records.PlanStarted,
    records.PlanEnded,
    records.FeaturesSaved,
)


def is_made_by_the_loop(record: records.AnyRecord | None) -> bool:
    """Whether a record follows from a decision of the session, at the time it was decided."""
    if isinstance(record, records.Degraded):
        return record.what in _OF_THE_LOOP
    return isinstance(record, _MADE)


def order_of(event: BrokerEvent) -> str:
    """Return the client order id an event speaks of, or nothing."""
    if isinstance(event, OrderFilled):
        return event.fill.client_order_id
    return str(getattr(event, "client_order_id", ""))
