"""The watch over aliases, approvals and artifacts: each disagreement is recorded once, and that it went away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from review_room import ReviewRoom, register_version

from core.clock import SimulatedClock
from core.database import create_engine, migrate
from core.errors import IntegrityError
from core.settings import MlflowSettings, Settings
from serving.release.alerts import Event, Found
from serving.release.bars import Bar, add_bars
from serving.release.publish import publish
from serving.release.reviews import ReviewDecision
from serving.release.rollback import strategy_folder
from serving.release.signing import ApprovalKeys
from serving.release.watch import ReleaseWatch
from serving.store import ModelStore

SECOND = 1_000_000_000


class Room(ReviewRoom):
    """A review room with a store and a watch."""

    settings: Settings
    store: ModelStore
    release: ReleaseWatch

    def publish(self, version: str) -> None:
        publish(self.name, version, settings=self.settings, ledger=self.ledger, store=self.store)

    def approve(self, version: str, reason: str = "read") -> ReviewDecision:
        self.tag(version, approval="approved", approval_reason=reason)
        (decision,) = self.watch()
        return decision

    def wait(self, seconds: int = 6) -> None:
        assert isinstance(self.clock, SimulatedClock)
        self.clock.advance_to(self.clock.time_ns() + seconds * SECOND)

    def look(self) -> list[tuple[str, str]]:
        """Look, wait, look: what lasts is recorded at the second look."""
        assert [r for r in self.release.look() if r.event is Event.RAISED] == []
        self.wait()
        found = [(record.event.value, record.problem) for record in self.release.look()]
        assert self.release.look() == []
        return found


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    monkeypatch.chdir(tmp_path)
    uri, name = f"sqlite:///{tmp_path}/mlflow.db", "tidegate-watched"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    engine = create_engine(f"sqlite:///{tmp_path}/platform.db")
    migrate(engine)
    for number in (1, 2):
        register_version(client, name, tmp_path / str(number), bias=float(number))
    made = Room(client, name, engine, ApprovalKeys(tmp_path / "keys"), SimulatedClock(1_000 * SECOND))
    made.settings = Settings(state_directory=tmp_path, mlflow=MlflowSettings(tracking_uri=uri))
    made.store = ModelStore(tmp_path / "serving")
    made.release = ReleaseWatch(name, settings=made.settings, ledger=made.ledger, store=made.store, alerts=made.alerts)
    yield made
    engine.dispose()


def test_moved_aliases_a_barred_version_and_edited_artifacts_are_recorded_once(room: Room) -> None:
    room.approve("1")
    room.publish("1")
    assert room.look() == []
    for alias in ("champion", "challenger", "shadow"):
        room.client.set_registered_model_alias(room.name, alias, "2")
    assert room.look() == [("raised", "alias_without_approval")] * 3
    # A watcher that starts anew says nothing again.
    room.release = ReleaseWatch(
        room.name, settings=room.settings, ledger=room.ledger, store=room.store, alerts=room.alerts
    )
    assert room.look() == []
    room.client.set_registered_model_alias(room.name, "champion", "1")
    room.client.delete_registered_model_alias(room.name, "challenger")
    assert [(r.event, r.problem) for r in room.release.look()] == [(Event.CLEARED, "alias_without_approval")] * 2
    decision = room.approve("2")
    assert decision.record is not None
    assert [r.event for r in room.release.look()] == [Event.CLEARED]
    room.wait()
    assert [r.problem for r in room.release.look()] == ["alias_differs"]
    bar = Bar.of(decision.record, rollback_id="000001", time_ns=1, reason="harm")
    add_bars(strategy_folder(room.store, room.name), [bar])
    room.wait(1)
    assert [r.event for r in room.release.look()] == [Event.CLEARED]
    room.wait()
    (barred,) = room.release.look()
    assert barred.problem == "barred" and "harm" in barred.words

    assert room.release.look_at_artifacts() == []
    manifest = room.artifact("package/manifest.json")
    before = manifest.read_bytes()
    manifest.write_bytes(before.replace(b'"horizon":1', b'"horizon":9'))
    (edited,) = room.release.look_at_artifacts()
    assert edited.problem == "edited_artifact" and "manifest" in edited.words
    assert room.release.look_at_artifacts() == []
    manifest.write_bytes(before)
    assert [r.event for r in room.release.look_at_artifacts()] == [Event.CLEARED]


def test_a_whole_other_package_in_place_of_the_approved_one_is_found(room: Room, tmp_path: Path) -> None:
    room.approve("1")
    room.publish("1")
    # Version 1's artifacts, and the tags that name them, become those of version 2: consistent, and never approved.
    for path in room.artifact("package").iterdir():
        path.write_bytes(room.artifact(f"package/{path.name}", "2").read_bytes())
    tags = room.tags("2")
    room.tag("1", **{key: tags[key] for key in ("lineage.model_digest", "lineage.evidence_digest")})
    (found,) = room.release.look_at_artifacts()
    assert "the model in the registry is" in found.words and "approval 1 is of" in found.words


def test_edited_alerts_are_found(room: Room) -> None:
    found = Found(problem="p", strategy="s", model_name="m", version="1", key="k", words="w")
    room.alerts.happened(found)
    assert room.alerts.happened(found) == []
    assert [record.words for record in room.alerts.records()] == ["w"]
    with room.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE release_alerts SET words = 'x'")
    with pytest.raises(IntegrityError, match="record 1"):
        room.alerts.records()
