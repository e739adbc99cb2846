"""Look at a workspace, the served model and the newest drift report: what ``reasons_of`` judges."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.digest import digest_file
from core.errors import BadInputError
from core.files import read_json
from data.catalog import Catalog
from data.manifest import MANIFEST
from serving.release.evidence import Manifest
from serving.store import ModelStore
from training.retraining.reasons import DriftAlarm, LiveSkill, Observation

_FEATURES = Path("data", "processed", "features", "features.parquet")
_CATALOG = Path("data", "raw", "catalog")


class _DriftSummary(msgspec.Struct):
    """The part of ``reports/drift/summary.json`` that is read here."""

    drifted: bool
    share_drifted: float
    share_threshold: float
    words: str


def observe(
    workspace: Path, strategy: str, store: ModelStore, now_ns: int, live: LiveSkill | None = None
) -> Observation | None:
    """Return what is known of a strategy's model and its data; None where no model was ever made here.

    Args:
        workspace: whose pipeline makes the model.
        strategy: name of the registered model.
        store: of the served models: the champion is judged, the newest version where nobody is served.
        now_ns: the moment of looking, UTC nanoseconds.
        live: how the champion's live forecasts fare, where that is known.

    Raises:
        BadInputError: a file of the workspace cannot be read.
        IntegrityError: the serving pointer or the catalog does not hold.
    """
    chosen = workspace / "models" / "chosen"
    pointer = store.pointer(strategy)
    served = store.package_folder(strategy, pointer.evidence_digest) if pointer is not None else None
    folder = served if served is not None and (served / "manifest.json").is_file() else chosen
    if not (folder / "manifest.json").is_file() or not (workspace / _FEATURES).is_file():
        return None
    manifest = Manifest.load(folder)
    made = [path.stat().st_mtime_ns for one in (chosen, folder) if (path := one / "manifest.json").is_file()]
    used, newest_used = _used(workspace / _FEATURES)
    new_steps, newest = _new_steps(workspace / _CATALOG, newest_used)
    return Observation(
        strategy=strategy,
        now_ns=now_ns,
        model_digest=manifest.model_digest,
        trained_ns=manifest.train_end_ns,
        made_ns=max(made),  # a candidate made since answers what asked before it, approved or not
        used_steps=used,
        new_steps=new_steps,
        newest_data_ns=newest,
        catalog_digest=digest_file(workspace / _CATALOG / MANIFEST),
        drift=_drift(workspace / "reports" / "drift" / "summary.json"),
        live=live,
    )


def _used(features: Path) -> tuple[int, int]:
    """Return how many decision times the features have, and the newest of them."""
    column = pq.read_table(features, columns=["event_timestamp"])["event_timestamp"]
    times = np.unique(column.cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_numpy())
    if not len(times):
        raise BadInputError(f"{features} has no rows: run the features stage again")
    return len(times), int(times[-1])


def _new_steps(root: Path, after_ns: int) -> tuple[int, int]:
    """Return how many event times of the catalog's view come after a moment, and the newest event time at all."""
    catalog = Catalog(root)
    manifest = catalog.manifest()
    view = manifest.view
    newest = max((part.last_event_ns for part in manifest.parts), default=0)
    if view is None or newest <= after_ns:
        return 0, newest
    times = [catalog.read(name, view.granularity, after_ns + 1).event_ns for name in view.instruments]
    return len(np.unique(np.concatenate(times))), newest


def _drift(path: Path) -> DriftAlarm | None:
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = read_json(path)
        found = msgspec.convert(content, _DriftSummary)
    except (json.JSONDecodeError, msgspec.ValidationError) as error:
        raise BadInputError(f"{path} cannot be read: {error}; run `tidegate drift` again") from None
    return DriftAlarm(
        digest_file(path),
        found.drifted,
        found.share_drifted,
        found.share_threshold,
        path.stat().st_mtime_ns,
        found.words,
    )
