"""A registered version and its evidence, brought together from registry, package and trial ledger."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from core.digest import digest_file
from core.errors import BadInputError, IntegrityError
from serving.release.evidence import Verdict, VerifiedPackage
from serving.release.publish import fetch_package, registry_client
from tidegate.platform import Addresses
from tidegate.release import registry_settings
from training.evidence import BUNDLE_FILE, EVIDENCE_FOLDER, LEDGER_FILE, Bundle, GatePolicy
from training.evidence.offline import Latency, judge_version, measure_latency
from training.evidence.tracing import Trace, trace
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
    with TemporaryDirectory(prefix="tidegate-gate-") as folder:
        package, bundle, head = _verified(registry_client(settings), name, version, Path(folder))
        latency = measure_latency(package.session.run, package.session.warmup_inputs)
    with open_ledger(settings) as ledger:
        verdict = judge_version(bundle, policy, latency, ledger, head)
    return Judged(bundle, verdict, latency)


def trace_registered(addresses: Addresses, name: str, version: str, draws: int) -> tuple[Bundle, Trace]:
    """Fetch a version's evidence and compute its numbers again from the trial ledger.

    Args:
        addresses: of registry and ledger.
        name: of the registered model.
        version: of it.
        draws: bootstrap samples of the retraining.

    Raises:
        BadInputError, IntegrityError, UnavailableError: as ``judge_registered``.
    """
    settings = registry_settings(addresses)
    with TemporaryDirectory(prefix="tidegate-gate-") as folder:
        _, bundle, _ = _verified(registry_client(settings), name, version, Path(folder))
    with open_ledger(settings) as ledger:
        return bundle, trace(bundle, ledger, draws)


def _verified(client: Any, name: str, version: str, folder: Path) -> tuple[VerifiedPackage, Bundle, Head | None]:
    """Download a version and its evidence; the bundle is the one that the verified package names."""
    package = fetch_package(client, name, version, folder)
    bundle, head, digest = _evidence(client, str(client.get_model_version(name, version).run_id), version, folder)
    if package.evidence.bundle_digest != digest:
        raise IntegrityError(
            f"version {version} of {name} names evidence {package.evidence.bundle_digest}, its run holds "
            f"{digest}: retrain, and do not serve it"
        )
    return package, bundle, head


def _evidence(client: Any, run_id: str, version: str, folder: Path) -> tuple[Bundle, Head | None, str]:
    """Download the bundle of a version's run, the head of the ledger when it was made, and the bundle's digest.

    The digest is that of the file: a bundle that was written before a section was added is still what it was.
    """
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
    bundle = Bundle.load(local / BUNDLE_FILE)  # says what is wrong with a missing file
    return bundle, head, digest_file(local / BUNDLE_FILE)
