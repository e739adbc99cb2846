"""Where a candidate comes from: the digests that make it possible to build it again, or to notice that it was not."""

from pathlib import Path
from typing import Any, cast

import msgspec
import yaml

from core.digest import digest_bytes, digest_file
from features.sets import feature_set
from features.store import FEAST_FOLDER, open_store
from training.dataset import DATASET
from training.lineage import UNKNOWN, Lineage

_LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Digests of everything a candidate was made from; ``unknown`` where there is nothing to digest."""

    model_digest: str
    manifest_digest: str
    data_digest: str  # of dataset.parquet
    dvc_digest: str  # DVC's own hash of the same output, from dvc.lock
    feature_digest: str  # of the feature set: names, kernel source, inputs
    feast_digest: str  # of the definitions in Feast's registry
    code_digests: dict[str, str]
    environment_digest: str  # of the installed distributions
    lock_digest: str  # of requirements.lock
    git_commit: str
    parameters_digest: str
    retraining: str


def read_sources(
    workspace: Path, lineage: Lineage, model_digest: str, manifest_digest: str, feature_set_name: str
) -> Sources:
    """Collect the digests of a candidate in a workspace."""
    return Sources(
        model_digest=model_digest,
        manifest_digest=manifest_digest,
        data_digest=lineage.data_digest,
        dvc_digest=_dvc_digest(workspace),
        feature_digest=lineage.feature_digest,
        feast_digest=_feast_digest(workspace, feature_set_name),
        code_digests=lineage.code_digests,
        environment_digest=lineage.environment_digest,
        lock_digest=digest_file(_LOCK) if _LOCK.is_file() else UNKNOWN,
        git_commit=lineage.git_commit,
        parameters_digest=lineage.parameters_digest,
        retraining=lineage.retraining,
    )


def _dvc_digest(workspace: Path) -> str:
    """Return DVC's hash of the dataset from ``dvc.lock``."""
    path = workspace / "dvc.lock"
    if not path.is_file():
        return UNKNOWN
    content = yaml.safe_load(path.read_text())
    stages = cast("dict[str, Any]", (content or {}).get("stages") or {})
    for out in (stages.get("dataset") or {}).get("outs") or []:
        if Path(str(out.get("path"))) == DATASET.parent:
            return str(out.get("md5") or out.get("hash") or UNKNOWN)
    return UNKNOWN


def _feast_digest(workspace: Path, name: str) -> str:
    """Return the digest of entity, view and service of a feature set in Feast's registry, without its clocks."""
    if not (workspace / FEAST_FOLDER / "registry.db").is_file():
        return UNKNOWN
    from feast.errors import FeastObjectNotFoundException

    store, service = open_store(workspace), feature_set(name).service
    try:
        view = store.get_feature_view(service)
        objects = [view, store.get_feature_service(service), *(store.get_entity(entity) for entity in view.entities)]
    except FeastObjectNotFoundException:
        return UNKNOWN
    parts = [cast(Any, item).to_proto().spec.SerializeToString(deterministic=True) for item in objects]
    return digest_bytes(b"".join(parts))
