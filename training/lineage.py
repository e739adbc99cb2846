"""Where a model comes from: code, data, features, environment and commit, each as a digest."""

import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from core.digest import digest_file, digest_source, digest_value
from core.files import read_json
from training.model_parameters import MODEL_KINDS
from training.parameters import Parameters

ROOMS: tuple[str, ...] = ("data", "features", "training")
# What changes a fit beside the dataset, which has its own digest and came from the data, feature and cost parameters.
SECTIONS: tuple[str, ...] = ("labels", "market", "seed", "validation")
UNKNOWN = "unknown"


class Lineage(msgspec.Struct, frozen=True):
    """Digests of everything a retraining was made from."""

    data_digest: str  # of dataset.parquet: features and labels as they were learnt from
    feature_digest: str
    code_digests: dict[str, str]
    environment_digest: str
    git_commit: str  # with "+dirty" where the working tree differs; "unknown" outside a repository
    parameters_digest: str

    @property
    def retraining(self) -> str:
        """The name of the retraining: the same inputs, the same name."""
        return digest_value([self.data_digest, self.feature_digest, self.code_digests, self.parameters_digest])[:16]


def read_lineage(dataset: Path, parameters: Parameters, feature_digest: str) -> Lineage:
    """Collect the lineage of a retraining on this dataset."""
    raw = parameters.raw
    return Lineage(
        digest_file(dataset),
        feature_digest,
        code_digests(),
        environment_digest(),
        git_commit(Path(__file__).parent),
        digest_value(msgspec.to_builtins({key: raw.get(key) for key in SECTIONS} | {"models": _fitting(raw)})),
    )


def _fitting(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of the trained models and of their blend; the choice among them changes no fit."""
    models = raw.get("models") or {}
    kept = {"components", "blend", *(models.get("components") or MODEL_KINDS)}
    return {key: value for key, value in models.items() if key in kept}


@lru_cache(maxsize=1)
def code_digests() -> dict[str, str]:
    """Return the digest of each room that makes a model."""
    return {room: digest_source(room) for room in ROOMS}


@lru_cache(maxsize=1)
def environment() -> tuple[str, ...]:
    """Return the installed distributions as ``name==version``, sorted."""
    found = {(str(d.metadata["Name"]).lower().replace("_", "-"), d.version) for d in metadata.distributions()}
    return tuple(sorted(f"{name}=={version}" for name, version in found))


def environment_digest() -> str:
    """Return the digest of the installed distributions."""
    return digest_value(list(environment()))


@lru_cache(maxsize=4)
def git_commit(folder: Path) -> str:
    """Return the commit of the repository that holds ``folder``, ``+dirty`` where tracked files differ from it."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    if not commit:
        return UNKNOWN
    changed = git("status", "--porcelain", "--untracked-files=no")
    return f"{commit}+dirty" if changed else commit


def read_features_file(path: Path) -> dict[str, Any]:
    """Read ``features.json``, what the features stage says it built.

    Raises:
        BadInputError: missing.
    """
    from core.errors import BadInputError

    try:
        return read_json(path)
    except FileNotFoundError:
        raise BadInputError(f"{path} is missing: run the features stage first") from None
