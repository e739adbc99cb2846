"""A registry without accounts in a file, versions as training registers them, and the ledgers beside it."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import sqlalchemy as sa
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from serving_packages import verified

from core.clock import Clock
from serving.release.alerts import AlertLedger
from serving.release.approvals import ApprovalLedger
from serving.release.evidence import VerifiedPackage
from serving.release.reviews import ReviewDecision, watch_once
from serving.release.signing import ApprovalKeys


def register_version(
    client: MlflowClient, name: str, folder: Path, *, bias: float = 1.0, passed: bool = True, by: str = "trainer"
) -> VerifiedPackage:
    """Register a package as the next version of a model."""
    package = verified(folder, bias=bias, strategy=name, passed=passed)
    experiment = client.get_experiment_by_name(name)
    identity = experiment.experiment_id if experiment else client.create_experiment(name)
    with suppress(MlflowException):  # it is there
        client.create_registered_model(name)
    run = client.create_run(identity)
    client.log_artifacts(run.info.run_id, str(package.folder), "package")
    tags = {
        "lineage.model_digest": package.model_digest,
        "lineage.evidence_digest": package.evidence_digest,
        "lineage.registered_by": by,
        "gate.verdict": "passed" if passed else "failed",
    }
    client.create_model_version(name, f"{run.info.artifact_uri}/package", run_id=run.info.run_id, tags=tags)
    return package


@dataclass
class ReviewRoom:
    """One model, its versions, and the ledgers."""

    client: MlflowClient
    name: str
    engine: sa.Engine
    keys: ApprovalKeys
    clock: Clock

    @property
    def ledger(self) -> ApprovalLedger:
        """A ledger as a new process would open it."""
        return ApprovalLedger(self.engine, self.clock, self.keys)

    @property
    def alerts(self) -> AlertLedger:
        """The alerts of the same database."""
        return AlertLedger(self.engine, self.clock)

    def watch(self, **more: Any) -> list[ReviewDecision]:
        """Look once, as a watcher that has just started would."""
        return watch_once(self.client, self.ledger, self.name, **more)

    def tag(self, version: str = "1", **tags: str) -> None:
        """Set tags of a version, in the given order."""
        for key, value in tags.items():
            self.client.set_model_version_tag(self.name, version, key, value)

    def tags(self, version: str = "1") -> dict[str, str]:
        """Return the tags of a version."""
        return dict(self.client.get_model_version(self.name, version).tags)

    def artifact(self, path: str, version: str = "1") -> Path:
        """Return where an artifact of a version's run lies."""
        run = self.client.get_run(str(self.client.get_model_version(self.name, version).run_id))
        uri = str(run.info.artifact_uri)
        return Path(url2pathname(urlsplit(uri).path) if uri.startswith("file:") else uri) / path
