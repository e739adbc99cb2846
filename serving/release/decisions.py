"""One person's decision about a verified package: who may approve what, and when two people must."""

from collections.abc import Callable

import sqlalchemy as sa

from core.errors import RefusedError
from serving.release.approval import Approval, Authentication, Decision, Scope
from serving.release.approvals import ApprovalLedger
from serving.release.evidence import VerifiedPackage


def decide(
    ledger: ApprovalLedger,
    package: VerifiedPackage,
    *,
    version: str,
    decision: Decision,
    scope: Scope,
    by: str,
    reason: str,
    user: str,
    authentication: Authentication,
    review: str = "",
    four_eyes: bool = False,
    registered_by: str = "",
    also: Callable[[sa.Connection, Approval], None] | None = None,
) -> Approval:
    """Record a decision and return its record.

    Under the four-eyes rule the first approval is recorded as ``supported``, which lets nothing trade; that of a second
    account for the same model, evidence and scope is the approval. Anybody may reject alone.

    Args:
        ledger, package, version: where, and what it is about.
        decision: approved or rejected.
        scope, by, reason, user, authentication, review, also: as for ``ApprovalLedger.append``.
        four_eyes: whether two must approve.
        registered_by: the account that registered the version; it may not be one of the two.

    Raises:
        RefusedError: ``live`` for a model that the gate refused, or by somebody nobody knows; under the four-eyes rule
            an account that is unknown, registered the version, or has approved it already.
        BadInputError, IntegrityError, UnavailableError: as for ``ApprovalLedger.append``.
    """
    if decision is Decision.APPROVED:
        _check_scope(package, version, scope, authentication)
        if four_eyes:
            decision = _of_two(ledger, package, version, scope, user, registered_by, review)
    return ledger.append(
        strategy=package.manifest.strategy,
        version=version,
        model_digest=package.model_digest,
        evidence_digest=package.evidence_digest,
        decision=decision,
        scope=scope,
        by=by,
        reason=reason,
        user=user,
        authentication=authentication,
        review=review,
        also=also,
    )


def _check_scope(package: VerifiedPackage, version: str, scope: Scope, authentication: Authentication) -> None:
    if scope is not Scope.LIVE:
        return
    if not package.evidence.verdict.passed:
        failed = ", ".join(rule.rule for rule in package.evidence.verdict.rules if not rule.passed)
        raise RefusedError(f"version {version} failed the gate ({failed}): it can be approved for paper only")
    if authentication is Authentication.UNAUTHENTICATED:
        raise RefusedError(
            f"version {version} cannot be approved for live by somebody nobody knows: switch the accounts on "
            "(TIDEGATE_MLFLOW__AUTHENTICATION=basic), or use `tidegate approve`"
        )


def _of_two(
    ledger: ApprovalLedger,
    package: VerifiedPackage,
    version: str,
    scope: Scope,
    user: str,
    registered_by: str,
    review: str,
) -> Decision:
    """Return whether this approval is the first or the second of two."""
    account = user.strip().casefold()
    if not account:
        raise RefusedError(
            f"version {version} needs the approvals of two people, and the registry asks nobody who they are: switch "
            "the accounts on (TIDEGATE_MLFLOW__AUTHENTICATION=basic), or use `tidegate approve`"
        )
    if account == registered_by.strip().casefold():
        raise RefusedError(f"{user} registered version {version}: two others must approve it")
    wanted = (package.manifest.strategy, package.model_digest, package.evidence_digest)
    first: set[str] = set()
    for record in ledger.verify_chain():
        if (record.strategy, record.model_digest, record.evidence_digest) != wanted:
            continue
        if review and record.review == review:  # written before a kill: the same answer as then
            return record.decision
        if record.decision is Decision.SUPPORTED and record.scope is scope:
            first.add(record.user.strip().casefold())
        elif record.decision is not Decision.SUPPORTED:
            first.clear()  # decided since: the next approval begins anew
    if account in first:
        raise RefusedError(f"{user} has approved version {version} already: a second person must")
    return Decision.APPROVED if first else Decision.SUPPORTED
