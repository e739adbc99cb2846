"""Approved models for benchmarks and drills of serving: real trees, fitted to made rows, in a folder of their own.

Their evidence says what they are. Approvals stand in a real ledger, a SQLite file beside the store.
"""

from pathlib import Path

import numpy as np

from core.database import create_engine, migrate
from core.digest import digest_bytes, digest_file
from core.domain import CLASSES
from core.errors import BadInputError
from serving.release.approval import Approval, Scope
from serving.release.approvals import ApprovalLedger, approve
from serving.release.evidence import (
    MODEL_FILE,
    WARMUP_FILE,
    Manifest,
    VerifiedPackage,
)
from tidegate.bench.made_evidence import complete_package

FEATURES = 60
_ROWS = 4000
_STEP_NS = 60_000_000_000


def write_tree_model(folder: Path, *, strategy: str, seed: int, rounds: int = 100, depth: int = 6) -> VerifiedPackage:
    """Fit the platform's own XGBoost forecaster to made rows, write its package into ``folder`` and verify it.

    Args:
        folder: where to; created if need be.
        strategy: whose it is.
        seed: of rows and fit: another seed gives another model.
        rounds: trees of each of the three classes.
        depth: of a tree.

    Raises:
        BadInputError: a library that fits or exports is not installed.
    """
    try:
        from training.dataset import TrainingData
        from training.model_parameters import XgboostParameters
        from training.models import graph
        from training.models.xgboost import XgboostForecaster

        generator = np.random.default_rng(seed)
        features = generator.normal(size=(_ROWS, 1, FEATURES)).astype(np.float32)
        score = features[:, 0, :5].sum(axis=1) + generator.normal(scale=2.0, size=_ROWS)
        labels = np.where(score > 1, 2, np.where(score < -1, 0, 1)).astype(np.int8)
        times = np.arange(_ROWS, dtype=np.int64) * _STEP_NS
        parameters = XgboostParameters(
            rounds=rounds, maximum_depth=depth, early_stopping=rounds, minimum_child_weight=5.0
        )
        names = tuple(f"made_{number}" for number in range(FEATURES))
        forecaster = XgboostForecaster(parameters, seed)
        forecaster.fit(TrainingData(features, labels, np.ones(_ROWS), times, times + _STEP_NS, names))
        content = graph.to_bytes(forecaster.graph())
    except ImportError as error:
        raise BadInputError(f"a model cannot be made ({error}): pip install 'tidegate[training]'") from None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(content)
    np.savez(folder / WARMUP_FILE, inputs=features[:16], outputs=graph.run(content, features[:16]).astype(np.float32))
    manifest = Manifest(
        name="xgboost",
        kind="xgboost",
        market="made",
        strategy=strategy,
        feature_set="made",
        feature_digest=digest_bytes(",".join(names).encode()),
        features=names,
        lookback=1,
        classes=CLASSES,
        model_digest=digest_file(folder / MODEL_FILE),
        train_start_ns=0,
        train_end_ns=_ROWS * _STEP_NS,
        horizon=1,
        seed=seed,
        parameters={"rounds": rounds, "maximum_depth": depth},
    )
    words = "Fitted to made rows: a model for a benchmark or a drill, approved for its own folder."
    return complete_package(folder, manifest, "made", words)


def approved(packages: list[VerifiedPackage], folder: Path) -> list[Approval]:
    """Approve packages as versions 1, 2, … in a ledger of their own under ``folder`` and return the records."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{folder / 'approvals.sqlite'}")
    try:
        migrate(engine)
        ledger = ApprovalLedger(engine)
        return [
            approve(ledger, package, version=str(number), scope=Scope.PAPER, by="tidegate", reason="made for a trial")
            for number, package in enumerate(packages, start=1)
        ]
    finally:
        engine.dispose()
