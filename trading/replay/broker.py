"""The broker of a replay: it answers what the journal says it answered, and fails where it failed."""

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal

from core.domain import (
    AccountState,
    Bar,
    BrokerEvent,
    Heartbeat,
    Instrument,
    OpenOrder,
    OrderRejected,
    OrderRequest,
    OrderState,
    Position,
    Quote,
    RejectReason,
)
from core.errors import OutcomeUnknownError, RefusedError, UnavailableError
from trading import records
from trading.replay.recording import Recording
from trading.state import SessionState

_NOT_ANSWERED = "the journal has no answer of the broker to this"


class ReplayBroker:
    """Implements ``Broker`` over a recording.

    Args:
        recording: of the session.
        instruments: as the session knew them.
        name: of the broker that was traded with.
        state: of the replayed session.
    """

    def __init__(
        self, recording: Recording, instruments: dict[str, Instrument], name: str, state: SessionState
    ) -> None:
        self._recording = recording
        self._instruments = instruments
        self._name = name
        self._state = state

    @property
    def name(self) -> str:
        return self._name

    async def connect(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to close."""

    async def instruments(self) -> dict[str, Instrument]:
        return self._instruments

    # -- orders --------------------------------------------------------------------------------------------------

    async def submit(self, order: OrderRequest) -> list[BrokerEvent]:
        return self._reply(order.client_order_id)

    async def cancel(self, client_order_id: str) -> list[BrokerEvent]:
        return self._reply(client_order_id)

    async def amend(self, client_order_id: str, replacement: OrderRequest) -> list[BrokerEvent]:
        return self._reply(client_order_id, replacement.client_order_id)

    async def close_position(self, instrument: str, units: Decimal, client_order_id: str) -> list[BrokerEvent]:
        return self._reply(client_order_id)

    def _reply(self, key: str, replacement: str = "") -> list[BrokerEvent]:
        """Return the events of the reply that was recorded next; those the stream had brought before are left out.

        Raises:
            UnavailableError, RefusedError, OutcomeUnknownError: that was what came instead of a reply.
        """
        recording = self._recording
        recording.waited()
        match recording.current:
            case records.RiskStateChanged(reason="BROKER_FORBIDDEN", words=words):
                raise RefusedError(words)
            case records.OrderNotSent(client_order_id=failed, words=words) if failed == replacement:
                # Refused, and the refusal was seen in the stream before: an event that is no news any more.
                newest = self._state.newest_transaction
                time_ns = recording.time_ns
                return [OrderRejected(newest, replacement, time_ns, RejectReason.BROKER_UNKNOWN_ORDER, words)]
            case records.OrderNotSent(client_order_id=failed, words=words) if failed == key:
                raise UnavailableError(words)
            case records.RequestFailed(client_order_id=failed, words=words) if failed == key:
                raise UnavailableError(words)
            case records.OrderUnresolved(client_order_id=failed, words=words) if failed in (key, replacement):
                raise OutcomeUnknownError(words)
            case _:
                pass
        events: list[BrokerEvent] = []
        for record in recording.ahead():
            if isinstance(record, records.BrokerSaid) and record.source == "reply":
                events.append(record.event)
            else:
                break
        return events

    async def resolve(self, client_order_id: str, since_transaction_id: int = 0) -> list[BrokerEvent]:
        """What became of an order, as it was recorded.

        Raises:
            UnavailableError: the broker did not say.
        """
        recording = self._recording
        recording.waited()
        order = self._state.book.orders.get(client_order_id)
        if order is None or order.state not in (OrderState.PENDING_NEW, OrderState.UNKNOWN):
            return []  # what the broker said has been given
        match recording.current:
            case records.OrderNotSent(client_order_id=name) if name == client_order_id:
                return []
            case records.OrderResolved(client_order_id=name) if name == client_order_id:
                return recording.events_of(client_order_id, self._state.newest_transaction)
            case _:
                raise UnavailableError(_NOT_ANSWERED)

    async def transactions_since(self, transaction_id: int) -> list[BrokerEvent]:
        """Nothing more: what was caught up with is given whenever the session waits.

        Raises:
            UnavailableError: the broker did not answer then.
        """
        recording, state = self._recording, self._state
        recording.waited()
        record = recording.current
        if isinstance(record, records.Degraded) and record.what == "broker" and not record.over:
            raise UnavailableError(record.words)
        step = state.step
        undecided = step is not None and not step.done and not step.decisions
        if undecided and isinstance(record, records.StepDone) and "broker" in state.degraded:
            raise UnavailableError(state.degraded["broker"])
        return []

    async def positions(self) -> dict[str, Position]:
        """The positions of the session: where the broker had others, the journal's comparison says so."""
        self._recording.waited()
        found: dict[str, Position] = {}
        for name, units in self._state.positions.held().items():
            long, short = self._state.positions.sides(name)
            found[name] = Position(name, units, long_units=long, short_units=short)
        return found

    async def open_orders(self) -> list[OpenOrder]:
        """Our own orders but those that the journal says the broker no longer holds, or what it says was listed.

        Raises:
            UnavailableError: the broker did not answer then.
        """
        self._recording.waited()
        if isinstance(self._recording.current, records.OrdersListed):
            return list(self._recording.current.unknown)
        gone: set[str] = set()
        answered = False
        for record in self._recording.ahead():
            if isinstance(record, records.OrderResolved):
                gone.add(record.client_order_id)
                answered = True
            elif isinstance(record, records.RequestFailed | records.OrderNotSent):
                answered = True
            else:
                break
        if not answered:
            raise UnavailableError(_NOT_ANSWERED)
        return [
            OpenOrder(order.key, order.broker_order_id, order.instrument, order.units, order.order_type)
            for order in self._state.book.open()
            if order.broker_order_id and order.key not in gone
        ]

    # -- what a replay does not ask ------------------------------------------------------------------------------

    async def account(self) -> AccountState:
        """Not answered: comparisons with the broker are taken from the journal."""
        raise UnavailableError(_NOT_ANSWERED)

    async def candles(self, instrument: str, granularity_seconds: int, start_ns: int, end_ns: int) -> list[Bar]:
        """Not answered: steps filled in from candles are in the journal."""
        raise UnavailableError(_NOT_ANSWERED)

    def quotes(self, instruments: Sequence[str]) -> AsyncIterator[Quote | Heartbeat]:
        """Not answered: the feed of a replay is the journal."""
        raise UnavailableError(_NOT_ANSWERED)

    async def quotes_ready(self, timeout_seconds: float = 10.0) -> None:
        """Nothing to wait for."""

    def events(self, since_transaction_id: int) -> AsyncIterator[BrokerEvent]:
        """Not answered: the stream's events are given while the loop waits."""
        raise UnavailableError(_NOT_ANSWERED)
