"""The four-eyes rule: two accounts, none of them who registered the version, for the same evidence and scope."""

from pathlib import Path
from typing import Any

import pytest
from serving_packages import verified

from core.clock import SimulatedClock
from core.database import create_engine, migrate
from core.errors import RefusedError
from serving.release.approval import Approval, Authentication, Decision, Scope
from serving.release.approvals import ApprovalLedger
from serving.release.decisions import decide
from serving.release.signing import ApprovalKeys


def test_two_accounts_and_none_of_them_the_trainer(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/approvals.db")
    migrate(engine)
    ledger = ApprovalLedger(engine, SimulatedClock(7), ApprovalKeys(tmp_path / "keys"))
    package = verified(tmp_path / "package")

    def say(user: str, decision: Decision = Decision.APPROVED, scope: Scope = Scope.PAPER, **more: Any) -> Approval:
        return decide(
            ledger,
            package,
            version="1",
            decision=decision,
            scope=scope,
            by=user or "somebody",
            reason="read",
            user=user,
            authentication=Authentication.MLFLOW_BASIC_AUTH,
            four_eyes=True,
            registered_by="engineer_one",
            **more,
        )

    def standing() -> Approval | None:
        return ledger.standing(package.model_digest, strategy=package.manifest.strategy)

    with pytest.raises(RefusedError, match="Engineer_one registered version 1"):
        say("Engineer_one")
    with pytest.raises(RefusedError, match="asks nobody who they are"):
        say("")
    first = say("reviewer_one", review="r1")
    assert first.decision is Decision.SUPPORTED and standing() is None
    assert say("reviewer_one", review="r1") == first  # the same decision read again after a kill
    with pytest.raises(RefusedError, match="REVIEWER_ONE has approved version 1 already"):
        say("REVIEWER_ONE")
    # For another scope the count begins anew, and the first scope's stays.
    assert say("reviewer_two", scope=Scope.LIVE).decision is Decision.SUPPORTED
    second = say("reviewer_two")
    assert second.decision is Decision.APPROVED and standing() == second
    # A first voice for live withdraws nothing; a rejection by one does, and then two are needed again.
    assert say("reviewer_one", scope=Scope.LIVE).decision is Decision.SUPPORTED
    assert standing() == second
    say("reviewer_one", decision=Decision.REJECTED)
    assert standing() is None
    assert say("reviewer_two").decision is Decision.SUPPORTED
    engine.dispose()
