"""The watch on the release: says when registry, approvals and serving disagree. It changes nothing."""

from enum import StrEnum

import msgspec

from core.errors import IntegrityError, UnavailableError
from core.logging import get_logger
from core.settings import Settings
from serving.release.approvals import ApprovalLedger
from serving.release.publish import CHAMPION_ALIAS, registry_client
from serving.store import ModelStore

_log = get_logger("serving")


class ReleaseProblem(StrEnum):
    """What is wrong."""

    ALIAS_WITHOUT_APPROVAL = "alias_without_approval"  # somebody moved the alias to a version nobody approved
    ALIAS_DIFFERS = "alias_differs"  # the alias names another approved version than the one served
    APPROVAL_WITHDRAWN = "approval_withdrawn"  # the served version was rejected after it was published
    LEDGER_BROKEN = "ledger_broken"
    STORE_BROKEN = "store_broken"


class ReleaseAlert(msgspec.Struct, frozen=True):
    """One disagreement, for the alert channel. ``words`` says what happened and what to do."""

    problem: ReleaseProblem
    strategy: str
    model_name: str
    alias_version: str | None
    served_version: str | None
    words: str


def check_release(
    model_name: str, strategy: str, *, settings: Settings, ledger: ApprovalLedger, store: ModelStore
) -> list[ReleaseAlert]:
    """Compare alias, approvals and pointer of one strategy; log and return what disagrees, empty when all agree.

    Raises:
        UnavailableError: MLflow or the database does not answer; nothing can be said then.
    """
    alias_version, alias_digest = _alias(model_name, settings)
    served: str | None = None
    found: list[tuple[ReleaseProblem, str]] = []
    try:
        pointer = store.pointer(strategy)
    except IntegrityError as error:
        pointer = None
        found.append((ReleaseProblem.STORE_BROKEN, error.message))
    try:
        ledger.verify_chain([one.approval for one in pointer.standings] if pointer else [])
        if pointer is not None:
            served = pointer.version
            standing = ledger.standing(pointer.model_digest, strategy=strategy)
            if standing is None:
                words = f"version {served} is served and its approval was withdrawn: roll back or approve it again"
                found.append((ReleaseProblem.APPROVAL_WITHDRAWN, words))
        if alias_version is not None and alias_version != served:
            approval = ledger.standing(alias_digest, strategy=strategy) if alias_digest else None
            if approval is None or approval.version != alias_version:
                words = (
                    f"the alias {CHAMPION_ALIAS} of {model_name} was moved to version {alias_version} without an "
                    f"approval; version {served} is still served: move it back, or approve and publish"
                )
                found.append((ReleaseProblem.ALIAS_WITHOUT_APPROVAL, words))
            else:
                words = (
                    f"the alias {CHAMPION_ALIAS} of {model_name} names version {alias_version}, version {served} is "
                    "served: publish one of them"
                )
                found.append((ReleaseProblem.ALIAS_DIFFERS, words))
    except IntegrityError as error:
        found.append((ReleaseProblem.LEDGER_BROKEN, error.message))
    alerts = [ReleaseAlert(problem, strategy, model_name, alias_version, served, words) for problem, words in found]
    for alert in alerts:
        _log.error("release alert", **msgspec.to_builtins(alert))
    return alerts


def _alias(model_name: str, settings: Settings) -> tuple[str | None, str | None]:
    """The version the alias names and the model digest in its tags; None where there is none."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, ErrorCode

    try:
        version = registry_client(settings).get_model_version_by_alias(model_name, CHAMPION_ALIAS)
    except MlflowException as error:
        absent = (ErrorCode.Name(RESOURCE_DOES_NOT_EXIST), ErrorCode.Name(INVALID_PARAMETER_VALUE))
        if error.error_code in absent:
            return None, None
        raise UnavailableError(f"the registry does not answer: {str(error).splitlines()[0]}") from error
    return str(version.version), version.tags.get("lineage.model_digest")
