"""The stages before the first fit: code digests, labels, and the dataset as Feast serves it."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.domain import CLASSES
from core.errors import BadInputError, IntegrityError
from core.files import write_bytes
from core.params import read_params
from training.dataset import DATASET, LABELS, labels_frame, read_cutoff, read_table, write_table
from training.labels import FLAT, assert_before_holdout, make_labels
from training.labels.primary import primary_rule, take_side
from training.lineage import ROOMS, code_digests, read_features_file
from training.parameters import parse
from training.stages.progress import Progress

CATALOG = Path("data/raw/catalog")
FEATURES_FILE = Path("data/processed/features/features.json")
CODE = Path("lineage/code")


def code() -> None:
    """Write the digest of each room that makes a model; the files change only when the code does."""
    for room in ROOMS:
        content = f"{code_digests()[room]}\n".encode()
        path = CODE / f"{room}.txt"
        if not path.is_file() or path.read_bytes() != content:
            write_bytes(path, content)


def labels() -> None:
    """Label every bar before the holdout."""
    from data.holdout import cutoff_ns
    from data.panel import load_panel
    from features.sets import feature_set

    progress = Progress("labels")
    parameters = parse(read_params())
    primary_rule(parameters.labels, feature_set(parameters.feature_set).columns)  # an unknown feature ends here
    panel = load_panel(CATALOG, parameters.instruments)
    if not len(panel.time_ns):
        raise BadInputError(f"{CATALOG} holds no bar of {', '.join(parameters.instruments)}: run the ingest stage")
    cutoff = cutoff_ns(panel.time_ns, parameters.holdout)
    made = make_labels(panel, parameters.costs, parameters.labels, cutoff)
    _check_occurrence(np.bincount(made.label, minlength=3))
    write_table(LABELS, labels_frame(made), {"cutoff_ns": str(cutoff)})
    shares = np.bincount(made.label, minlength=3) / len(made.label)
    progress(
        f"{len(made.label)} rows of {len(made.instruments)} instruments: "
        f"short {shares[0]:.1%}, flat {shares[1]:.1%}, long {shares[2]:.1%}"
    )


def dataset() -> None:
    """Join features to labels through Feast: each row sees what had arrived when its bar arrived."""
    import pandas as pd

    from features.sets import feature_set
    from features.store import historical_features

    progress = Progress("dataset")
    parameters = parse(read_params())
    described = read_features_file(FEATURES_FILE)
    chosen = feature_set(parameters.feature_set)
    if described["digest"] != chosen.digest:
        raise BadInputError(f"{FEATURES_FILE} was built by another feature code: run the features stage again")
    table = read_table(LABELS, "labels")
    cutoff = read_cutoff(table, LABELS)
    if int(described["cutoff_ns"]) != cutoff:
        raise IntegrityError("labels and features disagree on where the holdout begins: run both stages again")
    rows = table.to_pandas()
    rows = rows[rows["bar"] >= parameters.warmup].reset_index(drop=True)
    if not len(rows):
        raise BadInputError(f"no row is left after features.warmup {parameters.warmup}: ingest a longer history")
    progress(f"asking Feast for {len(rows)} rows of {len(chosen.columns)} features")
    entities = pd.DataFrame({"instrument": rows["instrument"], "event_timestamp": rows["event_timestamp"]})
    joined = historical_features(Path.cwd(), entities, chosen)
    same = (joined["instrument"].to_numpy() == entities["instrument"].to_numpy()).all() and (
        joined["event_timestamp"].to_numpy() == entities["event_timestamp"].to_numpy()
    ).all()
    if len(joined) != len(rows) or not same:
        raise IntegrityError("Feast changed the number or the order of the rows: the dataset would be misaligned")
    empty = np.asarray(joined[list(chosen.columns)].isna().all(axis=1))
    if empty.all():
        raise IntegrityError("Feast returned no feature for any row: run the features stage again")
    columns: dict[str, Any] = {name: rows[name].to_numpy() for name in rows.columns if name != "event_timestamp"}
    columns["event_timestamp"] = _microseconds(rows["event_timestamp"])
    columns |= {name: joined[name].to_numpy(np.float64) for name in chosen.columns}
    rule = primary_rule(parameters.labels, chosen.columns)
    if rule is not None:
        columns = take_side(columns, rule.sides_of(columns[rule.feature]))
        taken = int(np.count_nonzero(columns["side"]))
        paid = np.count_nonzero(columns["label"] != FLAT) / max(taken, 1)
        progress(f"{rule.feature} gives a side to {taken} of {len(rows)} rows, {paid:.1%} of them pay")
    kept = {name: values[~empty] for name, values in columns.items()}
    assert_before_holdout(kept["time_ns"], kept["label_end_ns"], cutoff)
    write_table(DATASET, kept, {"cutoff_ns": str(cutoff)})
    dropped = f", {int(empty.sum())} rows without any feature left out" if empty.any() else ""
    progress(f"{len(kept['label'])} rows{dropped}")


def _check_occurrence(counts: NDArray[np.int64]) -> None:
    """Refuse labels that lack a class: no model can learn what never happened."""
    missing = [name for name, count in zip(CLASSES, counts, strict=True) if count == 0]
    if missing:
        raise BadInputError(
            f"the class {' and '.join(missing)} never occurs among {int(counts.sum())} labels: change "
            "labels.minimum_edge, labels.barriers or labels.horizon"
        )


def _microseconds(column: Any) -> Any:
    return column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy().astype("datetime64[us]")
