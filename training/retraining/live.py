"""How the champion's live forecasts fare: their Brier score against what the class frequencies had out of sample.

The null is "no worse": given the past, the mean Brier score of a decision time is at most the one that the evidence
states for the class frequencies. The evidence against it is an e-process (``training.statistics.sequential.mean``), so
it may be looked at every quarter of an hour.
"""

from typing import Any

import numpy as np
import sqlalchemy as sa

from serving.release.evidence import Evidence
from trading.strategy.sizing import SizingParameters
from training.online.decisions import read_steps
from training.online.outcomes import outcome_classes
from training.retraining.reasons import LiveSkill
from training.statistics.sequential.calibration import spaced
from training.statistics.sequential.mean import Cutting, e_process


def reference_score(evidence: Evidence) -> float | None:
    """Return the Brier score of the class frequencies out of sample, None where the evidence states none."""
    found: Any = evidence.out_of_sample
    for key in ("baselines", found.get("reference", "climatology"), "brier"):
        found = found.get(key) if isinstance(found, dict) else None
    return float(found) if isinstance(found, int | float) else None


def live_skill(
    engine: sa.Engine, strategy: str, model_digest: str, reference: float, sizing: SizingParameters, since_ns: int
) -> LiveSkill:
    """Return how one model's own forecasts fared since a moment.

    Outcomes of several instruments at one time are averaged, and only decision times a whole horizon apart count:
    both would otherwise be taken as independent.

    Args:
        engine: of the trader's ledger, migrated.
        strategy: whose decisions.
        model_digest: whose forecasts, traded or scored beside.
        reference: Brier score they are held against.
        sizing: of the trader; names the horizon and the edge of the classes.
        since_ns: decisions before it do not count, UTC nanoseconds.

    Raises:
        sqlalchemy.exc.DBAPIError: the database is away.
    """
    steps = read_steps(engine, strategy, since_ns)
    classes = outcome_classes(steps, sizing)
    rows = [
        (number, seen.answers[model_digest].probabilities, classes[number, name])
        for number, step in enumerate(steps)
        for name, seen in sorted(step.instruments.items())
        if model_digest in seen.answers and (number, name) in classes
    ]
    if not rows:
        return LiveSkill(model_digest, 0, 0.0, 1.0)
    numbers = np.array([row[0] for row in rows], np.int64)
    said = np.array([row[1] for row in rows], np.float64)
    came = np.eye(said.shape[1])[[row[2] for row in rows]]
    scores = ((said - came) ** 2).sum(axis=1) - reference
    chosen = spaced(numbers, sizing.horizon)
    numbers, scores = numbers[chosen], scores[chosen]
    first = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    counts = np.diff(np.append(first, len(numbers)))
    process = e_process(np.add.reduceat(scores, first) / counts, Cutting())
    return LiveSkill(model_digest, len(scores), float(scores.mean()), process.largest)
