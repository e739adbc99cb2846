"""What is asked anew when a registered version is judged: the ledger as it stands, and the time of a prediction."""

import time
from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.release.evidence import Rule, Verdict
from training.evidence.bundle import Bundle
from training.evidence.policy import GatePolicy
from training.evidence.rules import judge
from training.trials import Head, TrialLedger

Answer = Callable[[NDArray[np.float32]], object]
_WARM_UP = 20
_CALLS = 300


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds of one prediction of one row, in this process, on this machine."""

    median: float
    p99: float
    calls: int


def measure_latency(answer: Answer, inputs: NDArray[np.float32]) -> Latency:
    """Time predictions of one row each.

    Args:
        answer: the model.
        inputs: float32 [K, L, F], rows to ask for in turn.
    """
    rows = [np.ascontiguousarray(inputs[place : place + 1]) for place in range(len(inputs))]
    taken: list[float] = []
    for call in range(_WARM_UP + _CALLS):
        start = time.perf_counter_ns()
        answer(rows[call % len(rows)])
        taken.append((time.perf_counter_ns() - start) / 1e6)
    measured = np.array(taken[_WARM_UP:])
    return Latency(median=float(np.median(measured)), p99=float(np.quantile(measured, 0.99)), calls=_CALLS)


def judge_version(
    bundle: Bundle, policy: GatePolicy, latency: Latency, ledger: TrialLedger, head: Head | None
) -> Verdict:
    """Judge a registered version by today's policy, ledger and machine.

    Args:
        bundle: its evidence; the caller has checked that it is the one its package names.
        policy: of the workspace.
        latency: of its model.
        ledger: as it stands now.
        head: of the ledger's chain when the evidence was made.

    Raises:
        UnavailableError: the database does not answer.
    """
    extra = (_latency(latency, policy), _ledger_now(bundle, policy, ledger, head))
    return judge(bundle, policy, tuple(rule for rule in extra if rule is not None))


def _latency(latency: Latency, policy: GatePolicy) -> Rule | None:
    limit = policy.maximum_latency_milliseconds
    if limit is None:
        return None
    return Rule(
        rule="latency",
        passed=latency.median <= limit,
        value=latency.median,
        limit=limit,
        words=f"One prediction takes {latency.median:.3f} ms (99 of 100 within {latency.p99:.3f} ms) in this "
        f"process; a median of {limit:g} ms is allowed.",
    )


def _ledger_now(bundle: Bundle, policy: GatePolicy, ledger: TrialLedger, head: Head | None) -> Rule | None:
    """Every row the evidence rests on must still be there as it was."""
    if not policy.complete_ledger or bundle.record is None:
        return None
    record = bundle.record
    faults = [gap.words for gap in ledger.verify(record.lineage, [head] if head is not None else [])]
    present = {row.id: row.returns_digest for row in ledger.trials(lineage=record.lineage)}
    changed = [row.id for row in record.rows if row.series and present.get(row.id) != row.series]
    faults += [f"trial {name} is no longer what the evidence was made from" for name in changed]
    later = len(present) - record.trials
    said = (
        f"The {record.trials} trials the evidence rests on are in the ledger as they were; {max(later, 0)} came later."
        if not faults
        else f"The ledger no longer supports the evidence ({len(faults)} faults): {faults[0]}"
    )
    return Rule(rule="ledger_now", passed=not faults, value=float(len(faults)), limit=0.0, words=said)
