"""The candidate against the model that trades now, on the decisions both were tested on unseen."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from core.domain import CLASSES
from core.errors import BadInputError
from serving.release.publish import CHAMPION_ALIAS
from training.dataset import Dataset, read_table
from training.evaluation.bootstrap import per_time
from training.evaluation.metrics import log_loss_rows
from training.evidence.candidate import Candidate
from training.package import OUT_OF_FOLD, rows_of
from training.registry import MODEL_DIGEST
from training.statistics.comparison import diebold_mariano
from training.walkforward import OutOfFold

_FILES = "model_files"  # where tracking keeps what a training stage wrote
_LEAST_ROWS = 100


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Mean log-loss difference, candidate less champion (below 0: the candidate is better), with its interval.

    Diebold and Mariano on means per decision time, with a variance that keeps its size on few of them.
    """

    version: str
    model_digest: str
    steps: int
    difference: float
    low: float
    high: float
    p_worse: float  # one-sided, of "the candidate is no worse"


def find_champion(client: Any, name: str, dataset: Dataset) -> tuple[str, str, OutOfFold] | str:
    """Return version, model digest and out-of-fold predictions of the registry's champion, or why there are none.

    Its predictions are those of its own validation: the deployed model has seen the rows that the candidate is tested
    on, and would win on them.
    """
    from mlflow.exceptions import MlflowException

    try:
        version = client.get_model_version_by_alias(name, CHAMPION_ALIAS)
    except MlflowException:
        return "there is no champion to compare with"
    try:
        with TemporaryDirectory(prefix="tidegate-champion-") as folder:
            path = client.download_artifacts(version.run_id, f"{_FILES}/{OUT_OF_FOLD}", folder)
            predictions = _read_known(Path(path), dataset)
    except (MlflowException, OSError, BadInputError) as error:
        reason = str(error).splitlines()[0]
        return f"the champion, version {version.version}, cannot be compared with: {reason}"
    return str(version.version), str(version.tags.get(MODEL_DIGEST, "")), predictions


def compare(candidate: Candidate, version: str, model_digest: str, champion: OutOfFold) -> Comparison | str:
    """Compare log losses on the rows both were tested on, or say why they cannot be."""
    dataset = candidate.dataset
    common, ours, theirs = np.intersect1d(candidate.rows, champion.rows, return_indices=True)
    if len(common) < _LEAST_ROWS:
        return f"the champion, version {version}, was tested on {len(common)} of the candidate's rows: too few"
    labels = dataset.label[common]
    axis, step = np.unique(dataset.time_ns[common], return_inverse=True)
    count = np.bincount(step, minlength=len(axis)).astype(np.float64)
    losses = [
        per_time(log_loss_rows(answer, labels), step, len(axis)) / count
        for answer in (candidate.answer[ours], champion.calibrated[theirs])
    ]
    if np.array_equal(losses[0], losses[1]):
        return Comparison(
            version=version, model_digest=model_digest, steps=len(axis), difference=0.0, low=0.0, high=0.0, p_worse=1.0
        )
    # Losses of a label's length overlap, and markets make them alike far beyond; a sum over lags would refuse twice as
    # many equal candidates as it says (docs/guide/offline-gate.md).
    result = diebold_mariano(losses[0], losses[1], dataset.horizon, "cosine")
    return Comparison(
        version=version,
        model_digest=model_digest,
        steps=len(axis),
        difference=result.value,
        low=result.low,
        high=result.high,
        p_worse=1.0 - result.p_better,
    )


def _read_known(path: Path, dataset: Dataset) -> OutOfFold:
    """Read out-of-fold predictions and keep those for rows of this dataset: the champion may be older than its data."""
    table = read_table(path, "train")
    codes = {name: code for code, name in enumerate(dataset.instruments)}
    names, place = np.unique(table["instrument"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    own = np.array([codes.get(name, -1) for name in names], np.int64)[place]
    rows = rows_of(dataset, own, table["time_ns"].to_numpy())
    known = rows >= 0
    stages = [
        np.column_stack([table[f"{stage}_{name}"].to_numpy() for name in CLASSES])[known]
        for stage in ("raw", "calibrated")
    ]
    return OutOfFold(rows[known], table["fold"].to_numpy()[known], stages[0], stages[1])
