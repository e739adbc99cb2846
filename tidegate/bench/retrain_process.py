"""One side of the retraining benchmark: ``python -m tidegate.bench.retrain_process FOLDER SIDE MODEL ROWS``."""

import re
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidegate.bench.retrain import DATASET, INSTRUMENTS, MATRIX, Side, parameters_of
from training.models.interface import THREADS, VALIDATION_SHARE
from training.parameters import Parameters, parse
from training.splits import Split, WalkForward, last_window, validation_tail

Rows = NDArray[np.int64]


def folds_of(parameters: Parameters, time_ns: Rows, label_end_ns: Rows) -> list[Split]:
    """Return the folds both sides fit."""
    options = parameters.validation
    return WalkForward(options.folds, options.train_steps, options.embargo, options.scheme).folds_of(
        time_ns, label_end_ns
    )


def ours(folder: Path, model: str, parameters: Parameters, features: int) -> list[float]:
    """Do what a train stage does; return what each fit decided."""
    from training.component import fit_component
    from training.dataset import load_dataset
    from training.models.interface import Forecaster
    from training.package import TrainingReport, write_model, write_native, write_training

    names = tuple(f"feature_{number}" for number in range(features))
    dataset = load_dataset(folder / DATASET, names, 1)
    folds = folds_of(parameters, dataset.time_ns, dataset.label_end_ns)
    rounds: list[float] = []

    def report(number: int, loss: float, fitted: Forecaster) -> None:
        rounds.append(next(iter(fitted.fitted().values())))

    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as scratch:
        target = Path(scratch) / model
        made = fit_component(model, parameters, dataset, folds, report, checkpoints=Path(scratch) / "checkpoints")
        write_model(target, made.content, dataset, made.rows, parameters, "f" * 64, made.model.lookback, {})
        native = write_native(target, made.model)
        fitted = made.model.fitted()
        written = TrainingReport(name=model, folds=(), fitted=fitted, calibration={}, parity=made.parity, native=native)
        write_training(target, dataset, made.predictions, written)
    return [*rounds, next(iter(fitted.values()))]


class Bare:
    """The matrix, and the library called on it."""

    def __init__(self, folder: Path, parameters: Parameters) -> None:
        with np.load(folder / MATRIX) as archive:
            self.matrix: NDArray[np.float32] = archive["matrix"]
            self.label: NDArray[np.int8] = archive["label"]
            self.time_ns: Rows = archive["time_ns"]
        self.label_end_ns = self.time_ns + 3_600_000_000_000
        self.weights = np.ones(len(self.label))
        self.parameters = parameters

    def windows(self) -> list[Rows]:
        """Return the training rows of each fit."""
        folds = folds_of(self.parameters, self.time_ns, self.label_end_ns)
        return [*(fold.train for fold in folds), last_window(self.time_ns, self.parameters.validation.train_steps)]

    def tail(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return the rows that are fitted and those that decide when to stop."""
        fit, tail = validation_tail(self.time_ns[rows], self.label_end_ns[rows], VALIDATION_SHARE)
        return rows[fit], rows[tail]

    def xgboost(self, rows: Rows) -> float:
        """Fit as XGBoost's own introduction does."""
        import xgboost

        p = self.parameters.models.xgboost
        fit, tail = self.tail(rows)

        def matrix(chosen: Rows, **more: Any) -> Any:
            weight = self.weights[chosen]
            return xgboost.QuantileDMatrix(
                self.matrix[chosen], self.label[chosen], weight=weight, nthread=THREADS, max_bin=128, **more
            )

        train = matrix(fit)
        options: dict[str, Any] = {
            "objective": "multi:softprob",
            "num_class": 3,
            "eval_metric": "mlogloss",
            "tree_method": "hist",
            "max_bin": 128,
            "eta": p.learning_rate,
            "max_depth": p.maximum_depth,
            "subsample": p.subsample,
            "colsample_bytree": p.column_sample,
            "min_child_weight": p.minimum_child_weight,
            "lambda": p.l2,
            "base_score": 0.5,
            "seed": self.parameters.seed,
            "nthread": THREADS,
            "verbosity": 0,
        }
        booster = xgboost.train(
            options,
            train,
            num_boost_round=p.rounds,
            evals=[(matrix(tail, ref=train), "validation")],
            early_stopping_rounds=p.early_stopping,
            verbose_eval=False,
        )
        return float(booster.best_iteration + 1)

    def random_forest(self, rows: Rows) -> float:
        """Fit scikit-learn's forest."""
        from sklearn.ensemble import RandomForestClassifier

        p = self.parameters.models.random_forest
        forest = RandomForestClassifier(
            n_estimators=p.trees,
            criterion=p.criterion,
            max_depth=p.maximum_depth,
            min_samples_leaf=p.minimum_leaf,
            max_features="sqrt",
            max_samples=p.sample_share,
            n_jobs=THREADS,
            random_state=self.parameters.seed,
        )
        forest.fit(self.matrix[rows], self.label[rows], self.weights[rows])
        return float(len(forest.estimators_))

    def network(self, rows: Rows, model: str) -> float:
        """Fit by a plain loop in torch: the same network, batches, loss, optimiser and validation."""
        import torch

        from training.models.networks.layers import build
        from training.windows import Windows, instrument_order

        p = getattr(self.parameters.models, model)
        torch.set_num_threads(1)
        torch.manual_seed(self.parameters.seed)
        fit, tail = self.tail(rows)
        order = instrument_order(np.tile(np.arange(INSTRUMENTS), len(self.time_ns) // INSTRUMENTS), self.time_ns)
        windows = Windows(self.matrix, np.arange(len(self.label)), p.lookback, *order)
        labels, weights = torch.from_numpy(self.label.astype(np.int64)), torch.from_numpy(self.weights).float()
        zeros, ones = torch.zeros(self.matrix.shape[1]), torch.ones(self.matrix.shape[1])
        network = build(p, zeros, ones)
        optimiser = torch.optim.Adam(network.parameters(), lr=p.learning_rate, foreach=True)

        def loss_of(chosen: Rows) -> Any:
            said = network(torch.from_numpy(windows[chosen]))
            losses = torch.nn.functional.cross_entropy(said, labels[chosen], reduction="none")
            return (losses * weights[chosen]).sum() / weights[chosen].sum()

        for _ in range(p.epochs):
            network.train()
            shuffled = fit[torch.randperm(len(fit)).numpy()]
            for start in range(0, len(shuffled), p.batch_size):
                optimiser.zero_grad()
                loss_of(shuffled[start : start + p.batch_size]).backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
            network.eval()
            with torch.inference_mode():
                for start in range(0, len(tail), 4 * p.batch_size):
                    loss_of(tail[start : start + 4 * p.batch_size])
        return float(p.epochs)


def bare(folder: Path, model: str, parameters: Parameters) -> list[float]:
    """Call the library for each fit; return what it decided."""
    side = Bare(folder, parameters)
    fits: dict[str, Callable[[Rows], float]] = {"xgboost": side.xgboost, "random_forest": side.random_forest}
    fit = fits.get(model, lambda rows: side.network(rows, model))
    return [fit(rows) for rows in side.windows()]


def memory(key: str) -> int:
    """Return a figure of this process's memory from ``/proc/self/status`` in bytes."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) * 1024 if found else 0


def main(folder: Path, name: str, model: str, rows: int) -> Side:
    """Warm the libraries up on few rows, then measure."""
    parameters = parse(parameters_of(model, rows))
    with np.load(folder / MATRIX) as archive:
        features = archive["matrix"].shape[1]

    def once() -> list[float]:
        return ours(folder, model, parameters, features) if name == "ours" else bare(folder, model, parameters)

    _warm(model, features)
    if name == "bare" and model == "random_forest":
        _fill(folder)
    with suppress(OSError):  # where it is not allowed the few rows of the warm-up count too
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, began, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    rounds = once()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    peak = (memory("VmHWM") - before) / (rows * features * 4)
    return Side(seconds, cpu_seconds, peak, len(rounds), rounds)


def _warm(model: str, features: int) -> None:
    """Import and run everything once on few rows: the start of a library is no part of a fit."""
    from tidegate.bench.retrain import make_matrix

    few = 8000
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as scratch:
        make_matrix(Path(scratch), few, features)
        parameters = parse(parameters_of(model, few))
        ours(Path(scratch), model, parameters, features)
        bare(Path(scratch), model, parameters)


def _fill(folder: Path) -> None:
    """Fill the missing values of the bare forest's matrix before anything is measured."""
    with np.load(folder / MATRIX) as archive:
        arrays = dict(archive)
    arrays["matrix"] = np.nan_to_num(arrays["matrix"], nan=0.0)
    np.savez(folder / MATRIX, **arrays)


if __name__ == "__main__":
    side = main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
    sys.stdout.write(msgspec.json.encode(side).decode() + "\n")
