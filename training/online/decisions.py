"""Read the decisions of a strategy from the trader's ledger, as they were made and as other versions saw them."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import sqlalchemy as sa

from core.database.transactions import of_one_moment
from trading.ledger import tables

Probabilities = tuple[float, float, float]  # short, flat, long


@dataclass(frozen=True)
class Answer:
    """What a version said of one decision; ``traded`` where its word was the one that counted."""

    probabilities: Probabilities
    version: str
    traded: bool
    strategy: tuple[tuple[str, float], ...] = ()  # sizing parameters the version brought along


@dataclass
class InstrumentStep:
    """One instrument at one decision time; ``scored`` says that sizing's view of it stands in the ledger."""

    mid: float
    current_units: Decimal
    answers: dict[str, Answer] = field(default_factory=dict)  # by model digest
    scored: bool = False
    volatility: float = 0.0
    cost: float = 0.0  # of a round trip, a fraction of the price
    base_rate: float = 0.0
    quote_rate: float = 0.0
    exits_only: bool = False


@dataclass
class DecisionStep:
    """All instruments at one decision time. ``equity`` is the account's at the decision, 0 where it is not noted."""

    time_ns: int
    instruments: dict[str, InstrumentStep]
    equity: float = 0.0

    @property
    def answered(self) -> bool:
        """Whether anybody answered: then an instrument without an answer had no bar."""
        return any(seen.answers for seen in self.instruments.values())


def decided(engine: sa.Engine, strategy: str, since_ns: int) -> tuple[int, int, int]:
    """Return sessions, decisions from a moment on, and the newest one's time: while they stand, so do the steps.

    A decision enters the ledger with or after everything that is known of it, so nothing else has to be looked at.
    """
    sessions, decisions = tables.sessions, tables.decisions
    query = (
        sa.select(
            sa.func.count(sa.distinct(sessions.c.session_id)),
            sa.func.count(decisions.c.decision_id),
            sa.func.max(decisions.c.time_ns),
        )
        .select_from(sessions.join(decisions, decisions.c.session_id == sessions.c.session_id))
        .where(sessions.c.strategy == strategy, decisions.c.time_ns >= since_ns)
    )
    with engine.connect() as connection:
        count, made, newest = connection.execute(query).one()
    return int(count), int(made), int(newest or 0)


def read_steps(engine: sa.Engine, strategy: str, since_ns: int) -> list[DecisionStep]:
    """Return the whole decision steps of a strategy from a moment on, oldest first.

    A step that the ledger holds only in part (a crash, or a projection under way) is left out. Where several sessions
    decided at one time, the decision counts once: that of the session with alternatives, else of the oldest one.
    """
    with engine.connect() as connection:
        connection = of_one_moment(connection)
        sessions = connection.execute(
            sa.select(tables.sessions.c.session_id, tables.sessions.c.instruments)
            .where(tables.sessions.c.strategy == strategy)
            .order_by(tables.sessions.c.opened_ns, tables.sessions.c.session_id)
        ).all()
        found: dict[int, tuple[bool, DecisionStep]] = {}
        for name, instruments in sessions:
            for step in _of_session(connection, name, since_ns):
                if len(step.instruments) < len(instruments.split(",")):
                    continue
                compared = any(seen.scored for seen in step.instruments.values())
                if step.time_ns not in found or (compared and not found[step.time_ns][0]):
                    found[step.time_ns] = compared, step
    return [found[time_ns][1] for time_ns in sorted(found)]


def _of_session(connection: sa.Connection, session_id: str, since_ns: int) -> list[DecisionStep]:
    steps: dict[int, DecisionStep] = {}
    for row in _rows(connection, tables.decisions, session_id, since_ns):
        step = steps.setdefault(row["time_ns"], DecisionStep(row["time_ns"], {}))
        step.instruments[row["instrument"]] = InstrumentStep(row["mid"], row["current_units"])
    seen: dict[tuple[int, str], InstrumentStep] = {
        (step.time_ns, name): one for step in steps.values() for name, one in step.instruments.items()
    }
    for row in _rows(connection, tables.scoring, session_id, since_ns):
        one = seen.get((row["time_ns"], row["instrument"]))
        if one is None:
            continue
        steps[row["time_ns"]].equity = row["equity"]
        one.scored, one.cost, one.exits_only = True, row["cost"], row["exits_only"]
        one.base_rate, one.quote_rate = row["base_rate"], row["quote_rate"]
        one.volatility = row["volatility"] if row["volatility"] is not None else float("nan")
    said: dict[tuple[int, str], dict[str, Answer]] = defaultdict(dict)
    for table, traded in ((tables.alternatives, False), (tables.predictions, True)):
        for row in _rows(connection, table, session_id, since_ns):
            said[row["time_ns"], row["instrument"]][row["model_digest"]] = _answer(row, traded)
    for key, answers in said.items():
        if key in seen:
            seen[key].answers = answers
    return list(steps.values())


def _rows(connection: sa.Connection, table: sa.Table, session_id: str, since_ns: int) -> list[Mapping[str, Any]]:
    chosen = sa.select(table).where(table.c.session_id == session_id, table.c.time_ns >= since_ns)
    return [dict(row) for row in connection.execute(chosen).mappings()]


def _answer(row: Mapping[str, Any], traded: bool) -> Answer:
    probabilities = (row["probability_short"], row["probability_flat"], row["probability_long"])
    brought: dict[str, float] = msgspec.json.decode(row["strategy"]) if row["strategy"] else {}
    return Answer(probabilities, row["model_version"], traded, tuple(brought.items()))
