"""The model of the order-path benchmark is published like any other and changes its mind with the newest bar."""

from pathlib import Path

import numpy as np
import pytest

from core.domain import PredictionRequest
from features.sets import feature_set
from serving.local import LocalPredictor
from tidegate.bench.machine import percentiles
from tidegate.bench.order_path import table
from tidegate.bench.order_path_model import FEATURE_SET, LOOKBACK, STRATEGY, publish_bench_model

pytest.importorskip("onnx")


async def test_the_published_model_wants_the_other_side_of_the_newest_bar(tmp_path: Path) -> None:
    digest = publish_bench_model(tmp_path / "serving", tmp_path / "package")
    chosen = feature_set(FEATURE_SET)
    features = np.full((3, LOOKBACK, len(chosen.columns)), np.nan, np.float32)
    features[:, -1, chosen.columns.index("return_1")] = (1e-6, -1e-6, 0.0)
    names = ("a", "b", "c")
    with LocalPredictor(tmp_path / "serving") as local:
        pointer = local.pointer(STRATEGY)
        rising, falling, still = await local.predict(
            PredictionRequest(STRATEGY, 1, names, names, chosen.digest, features)
        )
    assert pointer is not None and pointer.model_digest == digest
    assert rising.probability_short > 0.99 and falling.probability_long > 0.99
    assert still.probability_short == pytest.approx(still.probability_long)


def test_the_table_says_hops_floors_and_budgets() -> None:
    row = percentiles([1_000_000, 2_000_000, 3_000_000])
    text = table(
        {
            "machine": {
                "processor": "P",
                "cores": 2,
                "load_before": 1.0,
                "load": 2.0,
                "python": "3.11",
                "disk": "ext4",
            },
            "ticks_per_second": 200.0,
            "predictor": "local",
            "predictions_answered_by": {"local": 3},
            "ledger": "SQLite, complete",
            "hops": {"risk": row},
            "floors": {"loopback_echo": row},
            "floor_bytes": 2048,
            "decision_to_bytes_over_raw_write": {"p50": 1.5, "p99": 1.2, "p99_less_raw_ms": 0.1},
            "decision_to_bytes_budget": "p99 0.4 ms, budget 0.5 ms: met",
            "decision_to_bytes_less_disk": "p99 0.1 ms, budget 0.5 ms: met",
            "tick_to_accepted_budget": "p99 6 ms, budget 5 ms: missed by 1 ms",
        }
    )
    lines = text.splitlines()
    assert "3     2.000     2.980     2.998     3.000" in next(line for line in lines if line.startswith("risk"))
    assert any(line.startswith("loopback_echo") for line in lines) and "missed by 1 ms" in lines[-1]
    assert lines[-2] == "decision to bytes without waiting for the disk: p99 0.1 ms, budget 0.5 ms: met"
