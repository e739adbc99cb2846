"""How far the candidate's probabilities can be taken at their word, and what its scores are made of."""

import dataclasses

import msgspec

from core.domain import CLASSES
from training.evidence.candidate import Candidate
from training.labels.primary import only_side
from training.statistics.calibration import calibration_error
from training.statistics.scores import Decomposition, brier_decomposition, log_loss_decomposition


class ReliabilityBin(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of about the same probability: what was said, how often it happened (95 % interval), how many rows."""

    forecast: float
    frequency: float
    low: float
    high: float
    rows: int


class ClassCalibration(msgspec.Struct, frozen=True, kw_only=True):
    """One class: debiased error with its 95 % interval, and its reliability diagram."""

    error: float
    low: float
    high: float
    bins: tuple[ReliabilityBin, ...]


class ScoreParts(msgspec.Struct, frozen=True, kw_only=True):
    """``score = reliability - resolution + uncertainty + within_group``; see ``training.statistics.scores``.

    Debiased parts are freed of what groups of finite size show by chance alone.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within_group: float
    debiased_reliability: float
    debiased_resolution: float
    groups: int


class CalibrationEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """Calibration error, mean over classes, freed of sampling noise; ``plain`` is what is usually reported.

    ``p_value`` is of perfect calibration in every bin. Draws are blocks of decision times: instruments of one time, and
    neighbouring times, are not independent.
    """

    error: float
    low: float
    high: float
    plain: float
    p_value: float
    rows: int
    classes: dict[str, ClassCalibration]
    brier: ScoreParts
    log_loss: ScoreParts


def calibration_of(candidate: Candidate, bins: int) -> CalibrationEvidence:
    """Judge the candidate's calibrated probabilities on its unseen rows.

    Args:
        candidate: whose answers are judged; of meta-labels the other side is ruled out, as in serving.
        bins: of each class's diagram.
    """
    dataset, bootstrap = candidate.dataset, candidate.bootstrap
    labels = dataset.label[candidate.rows]
    answer = only_side(candidate.answer, None if dataset.side is None else dataset.side[candidate.rows])
    answer = answer / answer.sum(axis=1, keepdims=True)  # what was stored in float32 adds up to 1 only nearly
    found = calibration_error(
        answer, labels, candidate.step, bins, block=bootstrap.block, draws=max(bootstrap.draws, 100),
        seed=bootstrap.seed,
    )  # fmt: skip
    return CalibrationEvidence(
        error=found.value,
        low=found.low,
        high=found.high,
        plain=found.plain,
        p_value=found.p_value,
        rows=found.rows,
        classes={
            name: ClassCalibration(
                error=error.value,
                low=error.low,
                high=error.high,
                bins=tuple(ReliabilityBin(**dataclasses.asdict(one)) for one in diagram),
            )
            for name, error, diagram in zip(CLASSES, found.classes, found.diagrams, strict=True)
        },
        brier=_parts(brier_decomposition(answer, labels, bins)),
        log_loss=_parts(log_loss_decomposition(answer, labels, bins)),
    )


def _parts(found: Decomposition) -> ScoreParts:
    return ScoreParts(**{name: getattr(found, name) for name in ScoreParts.__struct_fields__})
