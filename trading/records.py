"""What the trader writes into its journal. The state of a session is a fold of these records, live and after a crash.

Each record is a tagged struct encoded with MessagePack; the journal entry's kind is its tag. Fields may be added with
a default, never removed: an old journal stays readable.
"""

from decimal import Decimal
from typing import Any, get_args

import msgspec

from core.domain import (
    AccountState,
    BrokerEvent,
    Heartbeat,
    Instrument,
    OpenOrder,
    OrderRequest,
    OrderState,
    Position,
    Prediction,
    Quote,
    RejectReason,
)
from core.errors import IntegrityError
from core.journal import Entry
from trading.execution.plan import ExecutionPlan, PlanOutcome
from trading.risk.limits import RiskState


class Record(msgspec.Struct, frozen=True, tag_field="record"):
    """Base of all records."""


class SessionOpened(Record, frozen=True, tag="session_opened"):
    """The trader started or started again.

    ``config`` (JSON, without the places of files) and ``specifications`` are all a replay needs to know of the session.
    """

    session_id: str
    config_digest: str
    strategy: str
    broker: str
    account_key: str
    instruments: tuple[str, ...]
    account: AccountState
    positions: tuple[Position, ...]
    resumed: bool
    simulated: bool
    fencing_token: int = 0
    config: bytes = b""
    specifications: tuple[Instrument, ...] = ()


class SettledByHand(Record, frozen=True, tag="settled_by_hand"):
    """A command opened the journal of a session without a trader: what follows, up to the next start, is its work."""

    time_ns: int
    reason: str
    by: str


class SessionClosed(Record, frozen=True, tag="session_closed"):
    """The trader stopped by itself; a journal without one ended in a crash."""

    reason: str


class QuoteSeen(Record, frozen=True, tag="quote"):
    """A price as the feed gave it."""

    quote: Quote


class HeartbeatSeen(Record, frozen=True, tag="heartbeat"):
    """The feed's time went on."""

    heartbeat: Heartbeat


class StepClosed(Record, frozen=True, tag="step"):
    """The bars of one decision time: kernel input rows (float64, instrument by instrument) and who is missing."""

    time_ns: int
    rows: bytes
    missing: tuple[str, ...]
    simulated: bool = False


class PredictionsMade(Record, frozen=True, tag="predictions"):
    """The answer to the one prediction request of a step."""

    time_ns: int
    predictions: tuple[Prediction, ...]


class ScoringInput(msgspec.Struct, frozen=True):
    """What sizing saw of one instrument, so that another version's answer can be sized as the traded one was.

    ``volatility`` is of a one-step log return, ``cost`` that of a round trip as a fraction of the price (0 without a
    price), the rates are the account currency's worth of one unit of the pair's currencies, and ``held`` is the
    position before the decision as a fraction of equity. NaN volatility: not known.
    """

    instrument: str
    volatility: float
    cost: float
    base_rate: float
    quote_rate: float
    held: float
    exits_only: bool  # this instrument might not get more risk, whatever a version said


class ScoringNoted(Record, frozen=True, tag="scoring"):
    """What outcomes of the versions beside the traded one are computed from: only of a step that has alternatives."""

    time_ns: int
    equity: float
    inputs: tuple[ScoringInput, ...]


class DecisionMade(Record, frozen=True, tag="decision"):
    """What the strategy wants with one instrument at one step, and why. ``order`` is None where it wants nothing."""

    decision_id: str
    instrument: str
    time_ns: int
    current_units: Decimal
    target_fraction: float
    target_units: Decimal
    reason: str
    order: OrderRequest | None = None
    model_digest: str = ""
    mid: float = 0.0


class OrderBlocked(Record, frozen=True, tag="blocked"):
    """Pre-trade risk said no."""

    client_order_id: str
    decision_id: str
    instrument: str
    units: Decimal
    time_ns: int
    reason: RejectReason
    words: str


class OrderSubmitted(Record, frozen=True, tag="submitted"):
    """An order is about to leave the process. Durable before it does."""

    order: OrderRequest
    time_ns: int
    bid: float = 0.0  # what was quoted at the decision, for the slippage
    ask: float = 0.0


class OrderUnresolved(Record, frozen=True, tag="unresolved"):
    """The reply was lost: the order's state is unknown until the broker says it."""

    client_order_id: str
    time_ns: int
    words: str


class OrderNotSent(Record, frozen=True, tag="not_sent"):
    """The order certainly is not at the broker: the connection failed before, or the broker knows nothing of it."""

    client_order_id: str
    time_ns: int
    words: str


class CancelRequested(Record, frozen=True, tag="cancel_requested"):
    """A cancellation is about to leave the process. Durable before it does."""

    client_order_id: str
    time_ns: int
    reason: str


class AmendRequested(Record, frozen=True, tag="amend_requested"):
    """An open order is about to be replaced by another one. Durable before the request leaves."""

    client_order_id: str
    replacement: OrderRequest
    time_ns: int


class OrdersListed(Record, frozen=True, tag="orders_listed"):
    """The broker said which orders are open; those that nobody had told us of enter our book as somebody else's."""

    time_ns: int
    unknown: tuple[OpenOrder, ...]


class RequestFailed(Record, frozen=True, tag="request_failed"):
    """A cancellation or amendment certainly changed nothing: refused, or it never arrived. The order stands."""

    client_order_id: str
    time_ns: int
    what: str  # cancel, amend
    words: str


class BrokerSaid(Record, frozen=True, tag="broker"):
    """An event of the broker, by whichever way it came first."""

    event: BrokerEvent
    source: str  # reply, catch_up, stream


class CaughtUp(Record, frozen=True, tag="caught_up"):
    """Every transaction up to this one has been seen."""

    transaction_id: int


class AccountSeen(Record, frozen=True, tag="account_state"):
    """The account as the broker stated it."""

    account: AccountState


class StepDone(Record, frozen=True, tag="step_done"):
    """Everything a step decided has been sent or blocked. Equity is marked at the standing quotes."""

    time_ns: int
    equity: float
    unrealised: float
    rates: dict[str, float]


class StepMissed(Record, frozen=True, tag="step_missed"):
    """A step got features and no decision."""

    time_ns: int
    words: str


class RiskStateChanged(Record, frozen=True, tag="risk_state"):
    """The trader may do more or less than before."""

    state: RiskState
    time_ns: int
    reason: str
    words: str
    by_hand: bool = False


class KillSwitchSet(Record, frozen=True, tag="kill_switch"):
    """The kill switch was turned on (by a person, or by a breach) or off (by a person only)."""

    on: bool
    flatten: bool
    time_ns: int
    reason: str
    by: str


class PlanStarted(Record, frozen=True, tag="plan_started"):
    """An order will be worked off in parts. Durable before the first part leaves."""

    plan: ExecutionPlan
    time_ns: int


class PlanEnded(Record, frozen=True, tag="plan_ended"):
    """Nothing more is sent for a plan."""

    plan_id: str
    time_ns: int
    outcome: PlanOutcome
    executed_units: Decimal
    words: str


class QuoteRefused(Record, frozen=True, tag="quote_refused"):
    """A price that cannot be one (not a number, not positive, crossed, from another time): nothing is made of it."""

    instrument: str
    time_ns: int
    reason: str  # NOT_A_NUMBER, NOT_POSITIVE, CROSSED, CLOCK_JUMP, UNKNOWN_INSTRUMENT, SPIKE
    words: str


class Reconciled(Record, frozen=True, tag="reconciled"):
    """A comparison with the broker was finished; its differences are records of their own."""

    time_ns: int
    scope: str  # start, in_flight, open_orders, positions, end
    differences: int


class DifferenceFound(Record, frozen=True, tag="difference"):
    """Our view and the broker's differ in one thing; what was done about it."""

    time_ns: int
    kind: str  # order, position, balance, transaction
    subject: str
    ours: str
    theirs: str
    resolution: str


class OrderResolved(Record, frozen=True, tag="order_resolved"):
    """A reconciliation set an order's state from what the broker said."""

    client_order_id: str
    state: OrderState
    time_ns: int
    words: str


class FeaturesSaved(Record, frozen=True, tag="features_saved"):
    """A snapshot of the feature state after the step of that time."""

    time_ns: int
    file: str


class Degraded(Record, frozen=True, tag="degraded"):
    """Something is missing and trading goes on with less; ``over`` says that it is back."""

    time_ns: int
    what: str  # prediction, price, database, features
    words: str
    over: bool = False


AnyRecord = (
    SessionOpened
    | SettledByHand
    | SessionClosed
    | QuoteSeen
    | HeartbeatSeen
    | StepClosed
    | PredictionsMade
    | ScoringNoted
    | DecisionMade
    | OrderBlocked
    | OrderSubmitted
    | OrderUnresolved
    | OrderNotSent
    | CancelRequested
    | AmendRequested
    | OrdersListed
    | RequestFailed
    | BrokerSaid
    | CaughtUp
    | AccountSeen
    | StepDone
    | StepMissed
    | RiskStateChanged
    | KillSwitchSet
    | PlanStarted
    | PlanEnded
    | QuoteRefused
    | Reconciled
    | DifferenceFound
    | OrderResolved
    | FeaturesSaved
    | Degraded
)

# Records that say money moved, may move, or that change what may move: on disk before the process goes on.
DURABLE: tuple[type[Record], ...] = (
    SessionOpened,
    SettledByHand,
    SessionClosed,
    OrderSubmitted,
    OrderUnresolved,
    OrderNotSent,
    OrderResolved,
    CancelRequested,
    AmendRequested,
    RequestFailed,
    RiskStateChanged,
    KillSwitchSet,
    PlanStarted,
    PlanEnded,
    FeaturesSaved,  # what it replaces is removed
)

# Kind of the journal entry, and whether it must be on disk before the process goes on, by type of record.
KINDS: dict[type[Record], tuple[str, bool]] = {
    kind: (str(kind.__struct_config__.tag), kind in DURABLE) for kind in get_args(AnyRecord)
}

_encode = msgspec.msgpack.Encoder(decimal_format="string").encode
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(AnyRecord)


def encode(record: AnyRecord) -> bytes:
    """Return the bytes of a record. A prediction of a lone version is written as it was before there were others."""
    if type(record) is not PredictionsMade:
        return _encode(record)
    content = msgspec.to_builtins(record)
    for prediction in content["predictions"]:
        for name in ("alternatives", "strategy"):
            if not prediction[name]:
                del prediction[name]
    return _encode(content)


def kind_of(record: AnyRecord) -> str:
    """Return the tag of a record: the kind of its journal entry."""
    return KINDS[type(record)][0]


def decode(entry: Entry) -> AnyRecord:
    """Return the record of a journal entry.

    Raises:
        IntegrityError: the entry is no record of a trading session.
    """
    try:
        return _decoder.decode(entry.payload)
    except msgspec.ValidationError as error:
        raise IntegrityError(f"journal entry {entry.sequence} of kind {entry.kind!r} is no record: {error}") from None
