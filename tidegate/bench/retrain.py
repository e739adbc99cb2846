"""Retraining beside the bare libraries: the same rows, the same model parameters, in one run.

Ours is what a train stage does between the start of its process and the tracking of its result: read the dataset,
validate walk-forward (fit, predict, calibrate), fit on the last window, export to ONNX, prove parity, write it all.
The bare side reads the matrix and calls the library's fit for the same folds and the last window, and nothing else: no
prediction, no calibration, no file; the forest's matrix has its missing values filled beforehand. Each side runs in a
process of its own, so that the peak of its memory is its own.

Trees and epochs are fewer than in ``params.yaml``: what we add is then a larger share, so the ratio is an upper bound.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from core.errors import TidegateError, UsageError
from tidegate.bench.machine import machine

MODELS: dict[str, dict[str, Any]] = {
    "xgboost": {"rounds": 100, "early_stopping": 100},
    "random_forest": {"trees": 30},
    "lstm": {"epochs": 1, "accelerator": "cpu"},
    "gru": {"epochs": 1, "accelerator": "cpu"},
    "transformer": {"epochs": 1, "accelerator": "cpu"},
}
INSTRUMENTS = 4
FOLDS, TRAIN_SHARE = 2, 0.6
OVERHEAD_LIMIT, MEMORY_LIMIT = 1.15, 3.0
DATASET, MATRIX = "dataset.parquet", "matrix.npz"


class Side(msgspec.Struct, frozen=True):
    """What one process took. ``peak`` is its memory above what the libraries need, in multiples of the matrix."""

    seconds: float
    cpu_seconds: float
    peak: float
    fits: int
    rounds: list[float]  # per fit: rounds, trees or epochs, to show that both sides did the same


def parameters_of(model: str, rows: int) -> dict[str, Any]:
    """Return the ``params.yaml`` mapping of the benchmark."""
    return {
        "market": "bench",
        "seed": 1,
        "data": {"instruments": [f"I{number}" for number in range(INSTRUMENTS)], "holdout": {"count": 1}},
        "features": {"set": "bench"},
        "costs": {},
        "labels": {"horizon": 1},
        "validation": {"folds": FOLDS, "train_steps": int(TRAIN_SHARE * rows / INSTRUMENTS), "embargo": 5},
        "models": {"components": [model], model: MODELS[model]},
    }


def run(models: Sequence[str], rows: int, features: int, repeats: int) -> dict[str, Any]:
    """Measure each model on both sides, interleaved, and return medians, ratios and verdicts.

    Args:
        models: of ``MODELS``.
        rows: of the matrix, all instruments together.
        features: columns of the matrix.
        repeats: runs of each side.

    Raises:
        UsageError: an unknown model.
        TidegateError: a side did not end well.
    """
    unknown = sorted(set(models) - set(MODELS))
    if unknown or not models:
        raise UsageError(f"no model {', '.join(unknown) or 'given'}: there are {', '.join(MODELS)}")
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as scratch:
        folder = Path(scratch)
        make_matrix(folder, rows, features)
        measured: dict[str, Any] = {}
        for model in models:
            sides: dict[str, list[Side]] = {"ours": [], "bare": []}
            for _ in range(repeats):
                for side, results in sides.items():
                    results.append(_measure(folder, side, model, rows))
            measured[model] = _figures(sides)
        return {
            "machine": machine(folder),
            "rows": rows,
            "features": features,
            "matrix_mb": round(rows * features * 4 / 1e6),
            "folds": FOLDS,
            "repeats": repeats,
            "models": measured,
        }


def _figures(sides: dict[str, list[Side]]) -> dict[str, Any]:
    result: dict[str, Any] = {
        name: {
            "seconds": round(float(np.median([side.seconds for side in runs])), 2),
            "cpu_seconds": round(float(np.median([side.cpu_seconds for side in runs])), 2),
            "peak_of_matrix": round(max(side.peak for side in runs), 2),
            "fits": runs[0].fits,
        }
        for name, runs in sides.items()
    }
    ours, bare = result["ours"], result["bare"]
    result["same_work"] = all(a.rounds == b.rounds for a, b in zip(sides["ours"], sides["bare"], strict=True))
    result["ratio_by_clock"] = round(ours["seconds"] / bare["seconds"], 3)
    result["ratio_by_processor_time"] = round(ours["cpu_seconds"] / bare["cpu_seconds"], 3)
    slow = result["ratio_by_processor_time"] > OVERHEAD_LIMIT
    large = ours["peak_of_matrix"] > MEMORY_LIMIT
    missed = [
        words
        for words, bad in (("time", slow), ("memory", large), ("not the same work", not result["same_work"]))
        if bad
    ]
    result["target"] = f"missed: {', '.join(missed)}" if missed else "met"
    return result


def _measure(folder: Path, side: str, model: str, rows: int) -> Side:
    command = [sys.executable, "-m", "tidegate.bench.retrain_process", str(folder), side, model, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TidegateError(f"{model}, {side}: {(done.stderr.strip().splitlines() or ['ended without a word'])[-1]}")
    return msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=Side)


def make_matrix(folder: Path, rows: int, features: int) -> None:
    """Write made-up rows as the dataset stage would, and the matrix alone for the bare side."""
    from training.dataset import ECONOMICS, write_table

    generator = np.random.default_rng(11)
    steps = rows // INSTRUMENTS
    count = steps * INSTRUMENTS
    matrix = generator.standard_normal((count, features), np.float32)
    score = 0.1 * matrix[:, 0] + generator.standard_normal(count, np.float32)
    label = np.searchsorted([-0.25, 0.25], score).astype(np.int64)
    matrix[generator.random(count) < 0.02, : max(features // 10, 1)] = np.nan  # a tenth of the features has holes
    time_ns = np.repeat(np.arange(steps, dtype=np.int64), INSTRUMENTS) * 3_600_000_000_000
    instruments = np.array([f"I{number}" for number in range(INSTRUMENTS)], dtype=object)
    columns: dict[str, Any] = {
        "instrument": np.tile(instruments, steps),
        "event_timestamp": (time_ns // 1000).astype("datetime64[us]"),
        "time_ns": time_ns,
        "label_end_ns": time_ns + 3_600_000_000_000,
        "bar": time_ns // 3_600_000_000_000,
        "label": label,
        **{name: np.zeros(count) for name in ECONOMICS},
        **{f"feature_{i}": matrix[:, i].astype(np.float64) for i in range(features)},
    }
    write_table(folder / DATASET, columns, {"cutoff_ns": str(2**62)})
    np.savez(folder / MATRIX, matrix=matrix, label=label.astype(np.int8), time_ns=time_ns)


def table(result: dict[str, Any]) -> str:
    """Return the figures as lines for a terminal."""
    head = (
        f"{result['rows']:,} rows of {result['features']} features ({result['matrix_mb']} MB), {result['folds']} folds"
    )
    lines = [
        f"{head} and the last window; {result['machine']['processor']}, load {result['machine']['load']}",
        f"{'model':<15}{'ours s':>9}{'bare s':>9}{'clock':>8}{'processor':>11}{'memory':>9}{'bare':>7}  target",
    ]
    for name, row in result["models"].items():
        ours, bare = row["ours"], row["bare"]
        lines.append(
            f"{name:<15}{ours['seconds']:>9.1f}{bare['seconds']:>9.1f}{row['ratio_by_clock']:>8.2f}"
            f"{row['ratio_by_processor_time']:>11.2f}{ours['peak_of_matrix']:>8.2f}x{bare['peak_of_matrix']:>6.2f}x"
            f"  {row['target']}"
        )
    lines.append(f"allowed: {OVERHEAD_LIMIT} of the bare fits by processor time, {MEMORY_LIMIT:g} x the matrix")
    return "\n".join(lines)
