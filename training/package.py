"""Model packages: the folder ``models/<name>`` a training stage writes, and the package of the chosen model.

``models/<name>`` holds ``model.onnx``, ``manifest.json`` and ``warmup.npz`` as in a package, and beside them what
later stages need: ``out_of_fold.parquet`` and ``training.json``; ``native`` is the fitted model in its library's own
form, to look into and to refit, never served. ``models/chosen`` is the package itself, with ``native``.
"""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.digest import digest_bytes, digest_file, digest_files
from core.domain import CLASSES
from core.errors import BadInputError, IntegrityError
from core.files import read_json, replacing, write_bytes, write_json
from serving.release.evidence import MANIFEST_FILE, MODEL_FILE, WARMUP_FILE, Manifest
from training.dataset import Dataset, read_table, write_table
from training.models import create, graph
from training.models.interface import Forecaster
from training.parameters import Parameters
from training.walkforward import OutOfFold

CHOSEN = Path("models/chosen")
DIGESTS = Path("lineage/models")
OUT_OF_FOLD = "out_of_fold.parquet"
TRAINING = "training.json"
WARMUP_ROWS = 16
PARITY_ROWS = 512
NATIVE = "native"


class FoldReport(msgspec.Struct, frozen=True):
    """How one fold went. Losses are in nats, of the model as it answered before calibration."""

    fold: int
    train_rows: int
    test_rows: int
    test_start_ns: int
    test_end_ns: int
    log_loss: float
    fitted: dict[str, float]


class TrainingReport(msgspec.Struct, frozen=True):
    """What ``training.json`` holds: everything about the fit that tracking and evaluation show, and no wall clock."""

    name: str
    folds: tuple[FoldReport, ...]
    fitted: dict[str, float]
    calibration: dict[str, float]  # slopes of the final model
    parity: float  # largest difference between the exported graph and the fitted model
    importance: dict[str, float] | None = None
    weights: dict[str, float] | None = None  # of the blend's components
    native: dict[str, str] = {}  # files of ``native`` and their digests


def parity_rows(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows for parity and warm-up: evenly spread, and rows with missing values if there are any."""
    spread = rows[np.unique(np.linspace(0, len(rows) - 1, min(PARITY_ROWS, len(rows))).astype(np.int64))]
    holes = np.zeros(len(rows), np.bool_)
    for column in range(dataset.features.shape[1]):  # one at a time: of all rows at once a matrix would be gathered
        holes |= np.isnan(dataset.features[rows, column])
    missing = rows[holes]
    return np.union1d(spread, missing[:: max(len(missing) // 64, 1)][:64])


def write_model(
    folder: Path,
    content: bytes,
    dataset: Dataset,
    rows: NDArray[np.int64],
    parameters: Parameters,
    feature_digest: str,
    lookback: int,
    model_parameters: dict[str, Any],
) -> Manifest:
    """Write ``model.onnx``, ``manifest.json`` and ``warmup.npz``; return the manifest.

    Args:
        folder: where to; created if need be.
        content: the graph.
        dataset: the rows it was trained on.
        rows: indices of the final training rows; warm-up inputs are spread over them.
        parameters: of the run.
        feature_digest: digest of the feature set definition.
        lookback: feature rows of one window.
        model_parameters: what the model was made with, for the manifest.
    """
    candidates = parity_rows(dataset, rows)
    chosen = candidates[np.unique(np.linspace(0, len(candidates) - 1, WARMUP_ROWS).astype(np.int64))]
    inputs = dataset.windows(chosen, lookback)
    outputs = graph.run(content, inputs).astype(np.float32)
    manifest = Manifest(
        name=folder.name,
        kind=folder.name,
        market=parameters.market,
        strategy=f"tidegate-{parameters.market}",
        feature_set=parameters.feature_set,
        feature_digest=feature_digest,
        features=dataset.feature_names,
        lookback=lookback,
        classes=CLASSES,
        model_digest=digest_bytes(content),
        train_start_ns=int(dataset.time_ns[rows].min()),
        train_end_ns=int(dataset.label_end_ns[rows].max()),
        horizon=parameters.labels.horizon,
        seed=parameters.seed,
        parameters=model_parameters,
    )
    folder.mkdir(parents=True, exist_ok=True)
    graph.save(folder / MODEL_FILE, content)
    with replacing(folder / WARMUP_FILE) as temporary, temporary.open("wb") as stream:
        np.savez(stream, inputs=inputs, outputs=outputs)
    manifest.save(folder)
    return manifest


def write_native(folder: Path, model: Forecaster) -> dict[str, str]:
    """Write the model as its library keeps it into ``native`` and return the digest of each file."""
    native = folder / NATIVE
    native.mkdir(parents=True, exist_ok=True)
    model.save_native(native)
    return {path.name: digest_file(path) for path in sorted(native.iterdir())}


def read_native(name: str, parameters: Parameters, folder: Path) -> Forecaster:
    """Return the fitted model that a training stage wrote into ``folder``.

    Raises:
        BadInputError: the folder holds none.
        IntegrityError: a file is not the one that was written; it is not opened then, for it may hold code.
    """
    written = read_training(folder).native
    if not written:
        raise BadInputError(f"{folder} holds no native model: run the train {name} stage again")
    for file, digest in written.items():
        path = folder / NATIVE / file
        if not path.is_file():
            raise BadInputError(f"{path} is missing: run the train {name} stage again")
        if digest_file(path) != digest:
            raise IntegrityError(f"{path} is not what training wrote: do not open it, run the train {name} stage again")
    model = create(name, parameters)
    model.load_native(folder / NATIVE)
    return model


def write_training(folder: Path, dataset: Dataset, predictions: OutOfFold, report: TrainingReport) -> None:
    """Write ``out_of_fold.parquet`` and ``training.json`` beside the model."""
    names = np.array(dataset.instruments, dtype=object)
    columns: dict[str, Any] = {
        "instrument": names[dataset.instrument[predictions.rows]],
        "time_ns": dataset.time_ns[predictions.rows],
        "fold": predictions.fold,
    }
    for stage, values in (("raw", predictions.raw), ("calibrated", predictions.calibrated)):
        columns |= {f"{stage}_{name}": np.ascontiguousarray(values[:, index]) for index, name in enumerate(CLASSES)}
    write_table(folder / OUT_OF_FOLD, columns, {"cutoff_ns": str(dataset.cutoff_ns)})
    write_json(folder / TRAINING, msgspec.to_builtins(report))


def read_out_of_fold(folder: Path, dataset: Dataset) -> OutOfFold:
    """Read a model's out-of-fold predictions and find their rows in the dataset.

    Raises:
        BadInputError: missing.
        IntegrityError: they were made from another dataset.
    """
    table = read_table(folder / OUT_OF_FOLD, f"train {folder.name}")
    instruments = table["instrument"].to_numpy(zero_copy_only=False).astype(str)
    times = table["time_ns"].to_numpy()
    codes = {name: code for code, name in enumerate(dataset.instruments)}
    known, place = np.unique(instruments, return_inverse=True)
    rows = rows_of(dataset, np.array([codes.get(name, -1) for name in known], np.int64)[place], times)
    if (rows < 0).any():
        raise IntegrityError(f"{folder} was trained on another dataset: train {folder.name} again")

    def matrix(stage: str) -> NDArray[np.float64]:
        return np.column_stack([table[f"{stage}_{name}"].to_numpy() for name in CLASSES])

    return OutOfFold(rows, table["fold"].to_numpy(), matrix("raw"), matrix("calibrated"))


def rows_of(dataset: Dataset, codes: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the dataset's row of each instrument (its code, -1 unknown) and time, int64; -1 where it has none."""
    found = np.full(len(codes), -1, np.int64)
    for code in np.unique(codes[codes >= 0]):
        own = np.flatnonzero(dataset.instrument == code)  # in time order
        if not len(own):
            continue
        wanted = np.flatnonzero(codes == code)
        place = np.minimum(np.searchsorted(dataset.time_ns[own], times[wanted]), len(own) - 1)
        there = dataset.time_ns[own[place]] == times[wanted]
        found[wanted[there]] = own[place[there]]
    return found


def read_training(folder: Path) -> TrainingReport:
    """Read ``training.json``.

    Raises:
        BadInputError: missing or malformed.
    """
    path = folder / TRAINING
    try:
        return msgspec.convert(read_json(path), TrainingReport)
    except FileNotFoundError:
        raise BadInputError(f"{path} is missing: run the train {folder.name} stage first") from None
    except (ValueError, msgspec.ValidationError) as error:
        raise BadInputError(f"{path} is malformed ({error}): train {folder.name} again") from None


def read_model(folder: Path) -> Any:
    """Read ``model.onnx`` as an ``onnx.ModelProto``."""
    import onnx

    path = folder / MODEL_FILE
    if not path.is_file():
        raise BadInputError(f"{path} is missing: run the train {folder.name} stage first")
    return onnx.load(str(path))


def copy_package(source: Path, target: Path = CHOSEN) -> None:
    """Start the package of the chosen model from what its training stage wrote; the evidence follows."""
    if target.exists():
        shutil.rmtree(target)
    for name in (MODEL_FILE, MANIFEST_FILE, WARMUP_FILE):
        write_bytes(target / name, (source / name).read_bytes())
    if (source / NATIVE).is_dir():
        shutil.copytree(source / NATIVE, target / NATIVE)


def write_digest(folder: Path) -> None:
    """Write the digest of everything in a model's folder where the stages that read all models depend on it."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    write_bytes(DIGESTS / f"{folder.name}.txt", f"{digest_files(folder, paths)}\n".encode())
