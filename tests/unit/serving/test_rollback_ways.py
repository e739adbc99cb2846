"""Where a rollback leads, what it bars, and what it refuses; figures of replicas; notifications; positions."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest
from pydantic import SecretStr
from serving_packages import approval_of, verified

from core.clock import LiveClock
from core.errors import BadInputError, IntegrityError, RefusedError, UnavailableError, UsageError
from core.settings import Settings
from serving.release.approval import Approval
from serving.release.arm_figures import arm_measures, harm_measures, integrity_measures
from serving.release.bars import BARS_FILE, read_bars
from serving.release.evidence import VerifiedPackage
from serving.release.findings import ArmFigures, Bounds, Findings, SequentialTest, Severity, Trigger, TriggerKind
from serving.release.guard import Guard
from serving.release.notifications import Notification, NotificationSink
from serving.release.rollback import FLAT, find_way, roll_back, strategy_folder
from serving.release.rollback_record import Positions, RollbackRecord
from serving.release.triggers import Measure, RollbackParameters, judge
from serving.store import ModelStore, Pointer
from serving.traffic.policy import Mode, Traffic
from serving.traffic.recorder import ArmWindow
from serving.traffic.statistics import ReplicaStatistics
from tidegate.rollback import by_hand
from tidegate.rollback_positions import positions_action
from trading.control.setting import KillSwitchFile, KillSwitchSetting, switch_path

STRATEGY = "tidegate-test"
CANARY = Traffic(mode=Mode.CANARY, share=0.2, salt="release")
CLOCK = LiveClock()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> list[VerifiedPackage]:
    folder = tmp_path_factory.mktemp("packages")
    return [verified(folder / str(number), bias=float(number), strategy=STRATEGY) for number in (1, 2, 3)]


@pytest.fixture
def approvals(packages: list[VerifiedPackage]) -> list[Approval]:
    return [approval_of(package, str(number), number) for number, package in enumerate(packages, start=1)]


@pytest.fixture
def store(tmp_path: Path, packages: list[VerifiedPackage], approvals: list[Approval]) -> ModelStore:
    """Version 1 was champion, 2 is, and 3 is in canary."""
    store = ModelStore(tmp_path / "serving")
    for package in packages:
        store.add(package)
    store.move(approvals[0])
    store.move(approvals[1])
    store.set_policy(STRATEGY, champion=approvals[1], challenger=approvals[2], traffic=CANARY)
    return store


def trigger(arm: str = "", kind: TriggerKind = TriggerKind.ERRORS) -> Trigger:
    return Trigger(
        kind=kind,
        severity=Severity.CRITICAL,
        strategy=STRATEGY,
        arm=arm,
        value=0.5,
        limit=0.05,
        time_ns=CLOCK.time_ns(),
        words="it failed",
    )


def take(store: ModelStore, arm: str = "", to: str | None = None, version: str = "") -> RollbackRecord:
    return roll_back(store, STRATEGY, trigger(arm), actor="test", clock=CLOCK, to=to, version=version)


def policy(store: ModelStore) -> Pointer:
    pointer = store.pointer(STRATEGY)
    assert pointer is not None
    return pointer


@pytest.mark.parametrize(
    ("arm", "to", "answers", "barred"),
    [
        ("", None, "2", ["3"]),
        ("challenger", None, "2", ["3"]),
        ("champion", None, "1", ["2", "3"]),
        ("", FLAT, "", ["2", "3"]),
        ("", "1", "1", ["2", "3"]),
        ("", "2", "2", ["3"]),
    ],
)
def test_ways(store: ModelStore, arm: str, to: str | None, answers: str, barred: list[str]) -> None:
    record = take(store, arm, to)
    after = policy(store)
    assert (after.version, after.challenger, after.traffic, after.revision) == (answers, None, Traffic(), 4)
    assert bool(after.flat) == (answers == "")
    assert [bar.version for bar in record.bars] == barred
    assert [bar.version for bar in read_bars(strategy_folder(store, STRATEGY))] == barred
    assert record.before.revision == 3 and record.before.challenger is not None


@pytest.mark.parametrize(
    ("arm", "to", "version", "words"),
    [
        ("", "3", "", "never champion"),
        ("", "9", "", "never champion"),
        ("challenger", None, "2", "not challenger any more"),
    ],
)
def test_refusals_change_nothing(store: ModelStore, arm: str, to: str | None, version: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        take(store, arm, to, version)
    assert policy(store).revision == 3
    assert read_bars(strategy_folder(store, STRATEGY)) == ()


def test_down_the_history_to_nobody_and_a_new_approval_back(store: ModelStore, packages: list[VerifiedPackage]) -> None:
    take(store)
    with pytest.raises(RefusedError, match="no challenger"):
        take(store, "challenger")
    assert take(store, "champion").target_words == "version 1"
    assert take(store, "champion").target is None
    with pytest.raises(RefusedError, match="flat already"):
        take(store)
    # The old approval does not come back, a new one of the same version does.
    with pytest.raises(RefusedError, match="stays barred until somebody approves it anew"):
        store.move(approval_of(packages[0], "1", 1))
    assert store.move(approval_of(packages[0], "1", 10)).version == "1"


def test_a_champion_before_that_no_longer_verifies_is_passed_over(
    store: ModelStore, packages: list[VerifiedPackage]
) -> None:
    (store.package_folder(STRATEGY, packages[0].evidence_digest) / "model.onnx").write_bytes(b"edited")
    with pytest.raises(RefusedError, match="no longer verifies"):
        take(store, to="1")
    assert take(store, "champion").target is None


def test_who_should_answer_and_cannot_leaves_nobody(store: ModelStore, packages: list[VerifiedPackage]) -> None:
    (store.package_folder(STRATEGY, packages[1].evidence_digest) / "manifest.json").unlink()
    record = take(store, "challenger")
    assert record.target is None and "manifest.json is missing" in record.flat
    assert "manifest.json is missing" in policy(store).flat


def test_damaged_bars_are_made_again_from_the_records(store: ModelStore, approvals: list[Approval]) -> None:
    take(store)
    folder = strategy_folder(store, STRATEGY)
    before = read_bars(folder)
    (folder / BARS_FILE).write_bytes(b"[{")
    assert read_bars(folder) == before
    with pytest.raises(RefusedError, match="stays barred"):
        store.move(approvals[2])
    (folder / "rollbacks" / "000003.json").write_bytes(b"{")
    with pytest.raises(IntegrityError, match="restore it"):
        store.move(approvals[0])


def test_the_button_needs_a_reason_and_is_not_pressed_twice(store: ModelStore, tmp_path: Path) -> None:
    settings, parameters = Settings(state_directory=tmp_path), RollbackParameters()
    with pytest.raises(UsageError, match="reason"):
        by_hand(settings, STRATEGY, reason=" ", parameters=parameters)
    with pytest.raises(UsageError, match="keep, reduce, flatten"):
        by_hand(settings, STRATEGY, reason="r", parameters=parameters, positions="burn")
    with pytest.raises(BadInputError, match="nothing was ever published"):
        by_hand(settings, "tidegate-other", reason="r", parameters=parameters)
    with pytest.raises(BadInputError, match="letters"):
        by_hand(settings, "../other", reason="r", parameters=parameters)
    assert by_hand(settings, STRATEGY, reason="r", parameters=parameters).target_words == "version 2"
    with pytest.raises(RefusedError, match="say where to"):
        by_hand(settings, STRATEGY, reason="r", parameters=parameters)
    assert by_hand(settings, STRATEGY, reason="r", parameters=parameters, to="1").target_words == "version 1"


def test_two_presses_at_one_moment_are_one_rollback(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_press(state: Path) -> list[ArmWindow]:
        take(store)  # somebody else is quicker, after we have looked at the policy
        return []

    monkeypatch.setattr("tidegate.rollback.read_statistics", other_press)
    with pytest.raises(RefusedError, match="at revision 4 by now, this was decided on 3"):
        by_hand(Settings(state_directory=tmp_path), STRATEGY, reason="now", parameters=RollbackParameters())
    assert (policy(store).revision, policy(store).version) == (4, "2")


def test_somebody_elses_move_at_the_same_moment_brings_nothing_back(
    store: ModelStore, approvals: list[Approval], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, moved = ModelStore.set_policy, list[int]()

    def late(self: ModelStore, strategy: str, **words: object) -> Pointer:
        if words.get("expected_revision") == 3 and not moved:
            moved.append(1)  # a share is raised between our look and our write
            raised = msgspec.structs.replace(CANARY, share=0.5)
            with pytest.raises(RefusedError, match="barred"):
                real(self, strategy, champion=approvals[1], challenger=approvals[2], traffic=raised)
            real(self, strategy, champion=approvals[0])
        return real(self, strategy, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(ModelStore, "set_policy", late)
    record = take(store)
    assert record.revision == 4 and policy(store).version == "1"


def test_guard_acts_once_and_tells(store: ModelStore) -> None:
    told: list[Notification] = []

    def figures(pointer: Pointer) -> list[Measure]:
        role = pointer.challenger or pointer.champion
        assert role is not None
        arm = "challenger" if pointer.challenger else "champion"
        return [Measure(kind=TriggerKind.ERRORS, strategy=STRATEGY, arm=arm, version=role.version, value=0.5)]

    guard = Guard(store, RollbackParameters(), [figures], told.append, CLOCK)
    acted = guard.tick(CLOCK.time_ns())
    assert [(t.kind, t.arm) for t in acted] == [(TriggerKind.ERRORS, "challenger")]
    assert policy(store).version == "2" and guard.rollbacks[0].actor == "guard"
    # The same fault on the champion now: the cool-down holds, people are told once.
    assert guard.tick(CLOCK.time_ns()) == guard.tick(CLOCK.time_ns()) == []
    assert [n.severity for n in told] == [Severity.CRITICAL]
    assert "cool-down after rollback 000003" in told[0].words
    (strategy_folder(store, STRATEGY) / "pointer.json").write_bytes(b"{")
    assert guard.tick(CLOCK.time_ns()) == []
    assert "malformed" in guard.troubles[STRATEGY]


def window(arm: str, digest: str, **changes: object) -> ArmWindow:
    plain = ArmWindow(
        strategy=STRATEGY,
        arm=arm,
        version="3",
        model_digest=digest,
        revision=3,
        current=True,
        pid=1,
        time_ns=1_000,
        installed_ns=1,
        window_seconds=60,
        requests=100,
        rows=300,
        errors=0,
        missing_rows=0,
        p50_ms=0.2,
        p99_ms=0.9,
        spread=0.3,
        sampled_rows=256,
        distinct_inputs=200,
        total_requests=100,
        total_rows=300,
        total_errors=0,
        total_missing_rows=0,
    )
    return msgspec.structs.replace(plain, **changes)


def test_figures_of_the_replicas(store: ModelStore) -> None:
    pointer, parameters = policy(store), RollbackParameters()
    assert pointer.challenger is not None
    digest = pointer.challenger.model_digest

    def values(*windows: ArmWindow) -> dict[TriggerKind, float | None]:
        return {m.kind: m.value for m in arm_measures(windows, pointer, parameters, 1_000)}

    sick = window("challenger", digest, errors=20, missing_rows=60, p99_ms=400.0, spread=0.0)
    assert values(sick, window("challenger", digest, pid=2)) == {
        TriggerKind.LATENCY: 0.4,  # the slowest replica
        TriggerKind.ERRORS: 0.1,  # both together
        TriggerKind.MISSING: 0.1,
        TriggerKind.CONSTANT: 0.3,  # one replica still looks at its inputs
    }
    few = values(window("challenger", digest, requests=4, rows=12, errors=4, total_rows=12))
    assert few[TriggerKind.LATENCY] is None and few[TriggerKind.ERRORS] is None
    same = values(window("challenger", digest, spread=0.0, distinct_inputs=3))
    assert TriggerKind.CONSTANT not in same  # the same question has the same answer
    for gone in ({"current": False}, {"model_digest": "0" * 64}, {"time_ns": -(10**10)}, {"arm": "champion"}):
        assert values(window("challenger", digest, **gone) if "arm" not in gone else window("champion", digest)) == {}


def test_a_version_no_replica_can_load(store: ModelStore) -> None:
    pointer = policy(store)

    def replica(revision: int, failures: dict[str, str], time_ns: int = 1_000) -> ReplicaStatistics:
        return ReplicaStatistics(
            pid=1,
            process_started=1.0,
            time_ns=time_ns,
            revisions={STRATEGY: revision},
            failures=failures,
            arms=(),
        )

    broken = {STRATEGY: "model.onnx is not the one approved"}
    for revision, arm, version in ((3, "challenger", "3"), (2, "champion", "2")):
        (measure,) = integrity_measures([replica(revision, broken), replica(3, {})], pointer, 1_000)
        assert (measure.arm, measure.version, measure.value) == (arm, version, 1.0)
        told = judge(measure, RollbackParameters(), None, 1_000)
        assert told is not None and told.severity is Severity.WARNING
        assert told.words.endswith("cannot be loaded by 1 replica(s); model.onnx is not the one approved")
    assert integrity_measures([replica(3, broken, -(10**10)), replica(3, {"other": "x"})], pointer, 1_000) == []


def test_harm_is_of_this_challenger(store: ModelStore) -> None:
    pointer = policy(store)
    assert pointer.challenger is not None
    test = SequentialTest(
        name="harm", e_value=3.0, largest_e_value=25.0, threshold=20.0, rejected=True, observations=40
    )
    bounds = Bounds(mean=0.0, low=-1.0, high=1.0, confidence=0.95)
    findings = Findings(time_ns=1, decisions=80, pending=0, blocks=40, difference=bounds, tests=(test,), arms=())
    assert harm_measures(findings, pointer) == []  # nobody said whose
    figures = ArmFigures(
        arm="challenger",
        model_version="3",
        model_digest=pointer.challenger.model_digest,
        decisions=80,
        traded=16,
        net_return=-0.01,
        cost=0.001,
        log_loss=None,
    )
    (measure,) = harm_measures(msgspec.structs.replace(findings, arms=(figures,)), pointer)
    assert (measure.value, measure.limit, measure.crossed, measure.version) == (25.0, 20.0, True, "3")
    other = msgspec.structs.replace(figures, model_digest="0" * 64)
    assert harm_measures(msgspec.structs.replace(findings, arms=(other,)), pointer) == []


def test_notifications_are_said_once(tmp_path: Path) -> None:
    bodies: list[dict[str, object]] = []
    status = [503]

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append({**body, "key": self.headers["Idempotency-Key"]})
            self.send_response(status[0])
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = SecretStr(f"http://127.0.0.1:{server.server_port}/hook?key=hidden")
        sink = NotificationSink(tmp_path, address)
        notification = Notification(notification_id="n1", time_ns=1, severity=Severity.CRITICAL, subject="s", words="w")
        with pytest.raises(UnavailableError, match="503") as refused:
            sink.send(notification)
        assert "hidden" not in refused.value.message
        with (tmp_path / "notifications.jsonl").open("ab") as stream:
            stream.write(b'{"torn')
        status[0] = 200
        assert sink.send(notification) == "noted in notifications.jsonl, taken by the webhook"
        NotificationSink(tmp_path).send(msgspec.structs.replace(notification, notification_id="n2"))
    finally:
        server.shutdown()
        server.server_close()
    assert [body["key"] for body in bodies] == ["n1", "n1"]
    assert [found.notification_id for found in sink.read()] == ["n1", "n2"]


@pytest.mark.parametrize("positions", list(Positions))
def test_positions_are_told_to_the_traders_by_file(store: ModelStore, tmp_path: Path, positions: Positions) -> None:
    record = msgspec.structs.replace(take(store), positions=positions)
    settings = Settings(state_directory=tmp_path)
    read: Callable[[], KillSwitchSetting | None] = KillSwitchFile(switch_path(tmp_path)).read
    words = positions_action(settings)(record)
    assert positions_action(settings)(record) == words  # after a kill
    setting = read()
    if positions is Positions.KEEP:
        assert setting is None and "version 2 decides" in words
        return
    assert setting is not None and setting.on
    assert setting.flatten == (positions is Positions.FLATTEN)
    assert "none runs" in words
    nobody = positions_action(settings)(msgspec.structs.replace(record, target=None))
    assert "none starts while nobody answers" in nobody  # a switch alone would be found by no trader
    # A person who turned it off since then is not overruled by a step that comes late.
    lifted = KillSwitchSetting(False, False, "checked", "desk", record.time_ns + 1)
    KillSwitchFile(switch_path(tmp_path)).set(lifted)
    assert "left alone" in positions_action(settings)(record)
    assert read() == lifted


def test_nothing_is_written_by_looking(store: ModelStore) -> None:
    way = find_way(store, policy(store), "champion")
    assert way.target is not None and way.target.version == "1"
    assert policy(store).revision == 3
