"""What each arm of a policy really lost: the trader's own fills and positions, decision by decision, from its ledger.

Between two decisions on an instrument the account made ``u (m' - m)`` with what it held, and ``q (m' - p)`` with every
fill of ``q`` units at ``p`` (spread, slippage and stops are in ``p``). That sum belongs to the arm that made the first
of the two decisions; over both arms it adds up to the account's profit at mid prices. It is told as a fraction of
equity, by the size that the decision itself gave to a unit, so that no exchange rates are needed.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from core.database.transactions import away
from serving.traffic.pointer import Pointer, Standing
from serving.traffic.policy import Arm
from trading.ledger import tables

NEWEST_DECISIONS = 5000  # of a session: a champion of months is judged by its last days, and a look stays cheap


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """What one arm lost; ``share`` is the worst session's, a fraction of equity, negative where it earned."""

    arm: str
    version: str
    share: float
    decisions: int


def losses(engine: sa.Engine, policy: Pointer, since_revision: int) -> list[Loss]:
    """Return the loss of each arm of a policy.

    Args:
        engine: of the ledger's database.
        policy: whose arms.
        since_revision: the policy revision at which its versions got their roles.

    Raises:
        UnavailableError: the database does not answer.
    """
    try:
        with engine.connect() as connection:
            sessions = [
                row[0]
                for row in connection.execute(
                    sa.select(tables.sessions.c.session_id).where(tables.sessions.c.strategy == policy.strategy)
                )
            ]
            rows = {session: _decisions(connection, session, since_revision) for session in sessions}
            fills = {session: _fills(connection, session, rows[session]) for session in sessions if rows[session]}
    except SQLAlchemyError as error:
        raise away("the trader's ledger does not answer", error) from error
    found: list[Loss] = []
    for arm, standing in ((Arm.CHAMPION, policy.champion), (Arm.CHALLENGER, policy.challenger)):
        if standing is None:
            continue
        results = [_result(rows[session], fills[session], arm, standing) for session in fills]
        results = [result for result in results if result[1] > 0]
        if results:
            worst, _ = min(results)
            count = sum(decisions for _, decisions in results)
            found.append(Loss(arm=arm.value, version=standing.version, share=-worst, decisions=count))
    return found


def _decisions(connection: sa.Connection, session: str, since_revision: int) -> list[Any]:
    """The newest decisions of a session with who made them, oldest first."""
    made, said = tables.decisions.c, tables.predictions.c
    of_it = sa.and_(said.session_id == made.session_id, said.decision_id == made.decision_id)
    query = (
        sa.select(
            made.instrument,
            made.time_ns,
            made.current_units,
            made.target_units,
            made.target_fraction,
            made.mid,
            said.arm,
            said.model_version,
        )
        .select_from(tables.decisions.join(tables.predictions, of_it))
        .where(made.session_id == session, said.policy_revision >= since_revision)
        .order_by(made.time_ns.desc())
        .limit(NEWEST_DECISIONS)
    )
    return list(reversed(connection.execute(query).all()))


def _fills(connection: sa.Connection, session: str, rows: Sequence[Any]) -> dict[str, list[tuple[int, float, float]]]:
    """Time, units and price of the fills since the first of the decisions, by instrument, oldest first."""
    table = tables.fills.c
    query = (
        sa.select(table.instrument, table.time_ns, table.units, table.price)
        .where(table.session_id == session, table.time_ns >= rows[0].time_ns)
        .order_by(table.time_ns)
    )
    found: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    for instrument, time_ns, units, price in connection.execute(query):
        found[instrument].append((int(time_ns), float(units), float(price)))
    return found


def _result(
    rows: Sequence[Any], fills: dict[str, list[tuple[int, float, float]]], arm: Arm, standing: Standing
) -> tuple[float, int]:
    """The profit of an arm in one session as a fraction of equity, and its decisions."""
    by_instrument: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_instrument[row.instrument].append(row)
    total, count = 0.0, 0
    for instrument, decided in by_instrument.items():
        unit = 0.0  # fraction of equity that one unit of the base currency is
        for row, following in zip(decided, [*decided[1:], None], strict=True):
            if row.target_units:
                unit = abs(row.target_fraction / float(row.target_units))
            end_ns = following.time_ns if following is not None else None
            own = [f for f in fills.get(instrument, []) if f[0] >= row.time_ns and (end_ns is None or f[0] < end_ns)]
            # After the last decision the market is known by the fills only: a stop that was hit is a loss already.
            mark = following.mid if following is not None else own[-1][2] if own else row.mid
            if not _of(row.arm, row.model_version, arm, standing.version) or not row.mid:
                continue
            count += 1
            quote = float(row.current_units) * (mark - row.mid) + sum(units * (mark - price) for _, units, price in own)
            total += quote / row.mid * unit
    return total, count


def _of(said: str, by: str, arm: Arm, version: str) -> bool:
    """Whether a prediction is this arm's. A blend (``4+7``) is the hand-over to the challenger: its own."""
    if said == Arm.BLEND.value:
        return arm is Arm.CHALLENGER and by.endswith(f"+{version}")
    return (said, by) == (arm.value, version)
