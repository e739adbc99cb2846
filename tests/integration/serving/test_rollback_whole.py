"""A rollback over real stores, MLflow among them: every step is done, nothing brings it back but a new approval."""

from pathlib import Path

import pytest
from release_room import NAME, Desk, make_desk, make_registry

from core.errors import RefusedError
from serving.release.approval import Decision
from serving.release.findings import Severity, Trigger, TriggerKind
from serving.release.notifications import NotificationSink
from serving.release.rollback import roll_back
from serving.release.rollback_completion import complete
from serving.release.rollback_record import RollbackRecord, StepName
from tidegate.release_report.rollback import report_path
from tidegate.rollback import Database, actions, described, listed


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("rollback")
    settings, packages = make_registry(folder)
    return make_desk(settings, packages, folder / "state", f"sqlite:///{folder / 'platform.db'}")


def take_back(desk: Desk, arm: str) -> RollbackRecord:
    """As the guard does, then every later step."""
    store, settings, clock = desk.room.store, desk.room.settings, desk.room.clock
    trigger = Trigger(
        kind=TriggerKind.LATENCY,
        severity=Severity.CRITICAL,
        strategy=NAME,
        arm=arm,
        value=0.4,
        limit=0.25,
        time_ns=clock.time_ns(),
        words=f"the {arm} is slow",
    )
    record = roll_back(store, NAME, trigger, actor="guard", clock=clock)
    database = Database(lambda: str(desk.room.approvals.engine.url))
    try:
        return complete(store, record, actions(settings, database, clock), clock)
    finally:
        database.close()


def states(desk: Desk) -> dict[str, str]:
    return {release.release_id: release.words for release in desk.room.releases.releases(NAME)}


def test_challenger_then_champion_taken_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(desk.room.settings.state))
    desk.approve("1")
    assert desk.advance()[-1] == "champion"
    desk.approve("2")
    assert desk.advance()[-1] == "shadow"
    desk.find(10)
    assert desk.advance() == ["canary step 1"]
    assert desk.served() == ("1", "2", "canary", 0.1)

    record = take_back(desk, "challenger")
    assert record.pending == ()
    assert desk.served() == ("1", "", "champion", 0.0)
    assert desk.aliases() == {"champion": "1"}
    tags = desk.tags("2")
    assert (tags["release.state"], tags["release.rolled_back_because"]) == ("rolled_back", "the challenger is slow")
    assert states(desk) == {f"{NAME}.1.1": "champion", f"{NAME}.2.1": "rolled_back"}
    last = desk.room.approvals.verify_chain()[-1]
    assert (last.decision, last.version, last.by) == (Decision.REJECTED, "2", "tidegate")
    assert len(NotificationSink(desk.room.settings.state).read()) == 1
    page = report_path(desk.room.settings.state, record)
    told = described(record, desk.room.settings.state)
    assert told["report"] == str(page) and told["pending"] == []
    # The rules find nothing to do, and nobody can bring it back by hand.
    desk.find(500, benefit=50.0)
    assert desk.advance() == []
    assert desk.served() == ("1", "", "champion", 0.0)
    with pytest.raises(RefusedError, match="stays barred"):
        desk.room.store.move(record.before.challenger.approval)  # type: ignore[union-attr]

    # Approved anew it goes its way again, and is promoted; then it is taken back as the champion.
    desk.approve("2")
    assert desk.advance()[-1] == "shadow"
    for _ in range(3):
        desk.find(500, benefit=50.0)
        desk.advance()
    assert desk.served() == ("2", "", "champion", 0.0)
    second = take_back(desk, "champion")
    assert second.pending == ()
    assert second.step(StepName.RELEASE) is not None
    assert desk.served() == ("1", "", "champion", 0.0)
    assert desk.aliases() == {"champion": "1"}
    assert states(desk) == {
        f"{NAME}.1.1": "retired",
        f"{NAME}.1.2": "champion",
        f"{NAME}.2.1": "rolled_back",
        f"{NAME}.2.2": "rolled_back",
    }
    desk.room.releases.verify()
    assert desk.advance() == []
    # And the last one: nobody is left, the alias is gone with it.
    third = take_back(desk, "champion")
    assert third.target is None
    assert desk.served() == ("", "", "flat", 0.0)
    assert desk.aliases() == {}
    assert desk.advance() == []
    rows = listed(desk.room.settings, None)
    assert [(row["taken_back"], row["target"]) for row in rows] == [("1", "flat"), ("2", "1"), ("2", "1")]


def test_the_state_directory_keeps_every_report(desk: Desk) -> None:
    folder: Path = desk.room.settings.state / "reports" / "rollbacks"
    assert len(list(folder.glob("*.html"))) == len(list(folder.glob("*.json"))) == 3
