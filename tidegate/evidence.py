"""A registered version and its evidence, brought together from registry, package and trial ledger."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from core.errors import BadInputError, IntegrityError
from serving.release.evidence import Verdict
from serving.release.publish import fetch_package, registry_client
from tidegate.platform import Addresses
from tidegate.release import registry_settings
from training.evidence import BUNDLE_FILE, EVIDENCE_FOLDER, LEDGER_FILE, Bundle, GatePolicy
from training.evidence.offline import Latency, judge_version, measure_latency
from training.trials import Head
from training.trials.session import open_ledger


@dataclass(frozen=True)
class Judged:
    """A version's evidence, what the policy says about it, and the time its model takes here."""

    bundle: Bundle
    verdict: Verdict
    latency: Latency


def judge_registered(addresses: Addresses, name: str, version: str, policy: GatePolicy) -> Judged:
    """Fetch a version and its evidence and judge it.

    Raises:
        BadInputError: there is no such version, or it was registered without a bundle.
        IntegrityError: package, bundle or ledger do not hold together.
        UnavailableError: registry or database does not answer.
    """
    settings = registry_settings(addresses)
    client = registry_client(settings)
    with TemporaryDirectory(prefix="tidegate-gate-") as folder:
        package = fetch_package(client, name, version, Path(folder))
        run_id = str(client.get_model_version(name, version).run_id)
        latency = measure_latency(package.session.run, package.session.warmup_inputs)
        bundle, head = _evidence(client, run_id, version, Path(folder))
    if package.evidence.bundle_digest != bundle.digest:
        raise IntegrityError(
            f"version {version} of {name} names evidence {package.evidence.bundle_digest}, its run holds "
            f"{bundle.digest}: retrain, and do not serve it"
        )
    with open_ledger(settings) as ledger:
        verdict = judge_version(bundle, policy, latency, ledger, head)
    return Judged(bundle, verdict, latency)


def _evidence(client: Any, run_id: str, version: str, folder: Path) -> tuple[Bundle, Head | None]:
    """Download the bundle of a version's run, and the head of the ledger when it was made."""
    from mlflow.exceptions import MlflowException

    try:
        local = Path(client.download_artifacts(run_id, EVIDENCE_FOLDER, str(folder)))
    except (MlflowException, OSError):
        raise BadInputError(
            f"version {version} was registered without an evidence bundle: retrain to get a version that has one"
        ) from None
    try:
        head = msgspec.json.decode((local / LEDGER_FILE).read_bytes(), type=Head | None)
    except (FileNotFoundError, msgspec.DecodeError) as error:
        raise IntegrityError(f"version {version}: {LEDGER_FILE} of its evidence is damaged: {error}") from None
    return Bundle.load(local / BUNDLE_FILE), head
