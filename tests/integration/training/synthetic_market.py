"""A made-up market with a known amount of signal, and a workspace that holds it as the dataset stage would."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from core.domain import INPUT_COLUMNS, BarKind, Panel
from core.files import write_json
from training.dataset import DATASET, labels_frame, write_table
from training.labels import make_labels
from training.parameters import parse

INSTRUMENTS = ("AUD_USD", "EUR_USD", "USD_JPY")
DAY = 86_400_000_000_000
FEATURES = ("signal", "half_empty", "noise_a", "noise_b", "constant")


def parameters(folds: int = 3, train_steps: int = 400, **changes: Any) -> dict[str, Any]:
    """Return a small ``params.yaml`` mapping; ``changes`` replace whole sections."""
    return {
        "market": "synthetic",
        "seed": 7,
        "data": {"instruments": list(INSTRUMENTS), "since": date(1999, 1, 4), "holdout": {"count": 50}},
        "features": {"set": "fixings", "warmup": 40},
        "costs": {"half_spread_pips": dict.fromkeys(INSTRUMENTS, 0.7), "slippage_pips": 0.1},
        "labels": {"kind": "fixed_horizon", "horizon": 1, "minimum_edge": 1.0},
        "validation": {"scheme": "rolling", "folds": folds, "train_steps": train_steps, "embargo": 5},
        "models": {
            "chosen": "best",
            "xgboost": {"rounds": 80, "learning_rate": 0.1, "minimum_child_weight": 10, "early_stopping": 15},
            "random_forest": {"trees": 40, "maximum_depth": 5, "minimum_leaf": 20, "sample_share": 0.6},
            "lstm": {"lookback": 5, "hidden": 8, "epochs": 8, "batch_size": 128, "learning_rate": 0.01, "patience": 3},
        },
        "evaluation": {"bootstrap_draws": 300, "block_length": 20},
        "strategy": {"target_volatility": 0.08, "steps_per_year": 260, "rebalance_threshold": 0.1},
    } | changes


def make_panel(steps: int, strength: float, seed: int) -> tuple[Panel, np.ndarray]:
    """Return fixings of three pairs, and the signal [T, N] that holds ``strength`` of the next return's deviation."""
    generator = np.random.default_rng(seed)
    signal = generator.normal(size=(steps, len(INSTRUMENTS)))
    shocks = generator.normal(size=(steps, len(INSTRUMENTS)))
    returns = 0.006 * (strength * np.roll(signal, 1, axis=0) + np.sqrt(1.0 - strength**2) * shocks)
    returns[0] = 0.0
    rates = np.array([0.75, 1.1, 110.0]) * np.exp(np.cumsum(returns, axis=0))
    values = np.full((steps, len(INSTRUMENTS), len(INPUT_COLUMNS)), np.nan)
    for column in ("bid_close", "ask_close"):
        values[:, :, INPUT_COLUMNS.index(column)] = rates
    time_ns = (np.arange(steps, dtype=np.int64) + 12_000) * DAY
    arrival = np.repeat(time_ns[:, None] + DAY // 12, len(INSTRUMENTS), axis=1)
    return Panel(INSTRUMENTS, time_ns, arrival, values, BarKind.FIXING), signal


def make_workspace(folder: Path, strength: float, steps: int = 1000, seed: int = 11, **changes: Any) -> Path:
    """Write ``params.yaml``, the dataset and ``features.json`` into a folder and return it."""
    content = parameters(**changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    panel, signal = make_panel(steps, strength, seed)
    parsed = parse(content)
    cutoff = int(panel.time_ns[-content["data"]["holdout"]["count"]])
    labels = make_labels(panel, parsed.costs, parsed.labels, cutoff)
    generator = np.random.default_rng(seed + 1)
    count = len(labels.label)
    features = {
        "signal": signal[labels.step, labels.instrument] + 0.1 * generator.normal(size=count),
        "half_empty": np.where(generator.random(count) < 0.5, np.nan, generator.normal(size=count)),
        "noise_a": generator.normal(size=count),
        "noise_b": 1e6 * generator.normal(size=count),
        "constant": np.ones(count),
    }
    kept = labels.bar >= parsed.warmup
    columns = {name: values[kept] for name, values in (labels_frame(labels) | features).items()}
    write_table(folder / DATASET, columns, {"cutoff_ns": str(cutoff)})
    described = {"set": "fixings", "columns": list(FEATURES), "digest": "f" * 64, "cutoff_ns": cutoff}
    write_json(folder / "data/processed/features/features.json", described)
    return folder
