"""The release service as the process that `tidegate up` runs: it needs neither registry nor replica to take back."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from serving_packages import approval_of, verified

from core.clock import LiveClock
from core.errors import UnavailableError
from core.files import read_json
from serving.release.bars import Bar
from serving.release.findings import Severity, Trigger, TriggerKind
from serving.release.rollback import strategy_folder
from serving.release.rollback_record import Positions, RollbackRecord, StepName, read_records, write_record
from serving.store import ModelStore, Pointer
from serving.traffic.policy import Mode, Traffic
from tidegate.processes.readiness import request
from tidegate.processes.supervisor import Supervisor
from tidegate.release_service import main
from tidegate.services.release import release_service, told

ROOT = Path(__file__).resolve().parents[3]
STRATEGY = "tidegate-fixings"


def interrupted(store: ModelStore, folder: Path) -> RollbackRecord:
    """Versions 1 and 2 as champions, 3 in canary, and a rollback of 3 whose process died after its intent."""
    approvals = []
    for number in (1, 2, 3):
        package = verified(folder / str(number), bias=float(number), strategy=STRATEGY)
        store.add(package)
        approvals.append(approval_of(package, str(number), number))
    store.move(approvals[0])
    store.move(approvals[1])
    before = store.set_policy(
        STRATEGY, champion=approvals[1], challenger=approvals[2], traffic=Traffic(mode=Mode.SHADOW, salt="r")
    )
    now = LiveClock().time_ns()
    trigger = Trigger(
        kind=TriggerKind.LATENCY,
        severity=Severity.CRITICAL,
        strategy=STRATEGY,
        arm="challenger",
        value=0.4,
        limit=0.25,
        time_ns=now,
        words="version 3 (challenger) takes 0.4 s",
    )
    record = RollbackRecord(
        rollback_id="000003",
        strategy=STRATEGY,
        trigger=trigger,
        actor="guard",
        time_ns=now,
        before=before,
        target=approvals[1],
        flat="",
        bars=(Bar.of(approvals[2], rollback_id="000003", time_ns=now, reason=trigger.words),),
        positions=Positions.KEEP,
    )
    write_record(strategy_folder(store, STRATEGY), record)
    return record


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    interrupted(ModelStore(folder / "serving"), folder / "packages")
    return folder


@pytest.fixture(scope="module")
def url(state: Path) -> Iterator[str]:
    environment = {
        "TIDEGATE_DATABASE__URL": f"sqlite:///{state / 'platform.db'}",
        "TIDEGATE_MLFLOW__TRACKING_URI": "http://127.0.0.1:1",
    }
    with Supervisor(state) as supervisor:
        service = release_service(state, ROOT, environment)
        supervisor.start(service)
        yield service.url


def press(url: str, token: str, body: object) -> tuple[int, Any]:
    import http.client
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port or 0, timeout=20)
    content = body if isinstance(body, str) else json.dumps(body)
    connection.request("POST", "/v1/rollback", content, {"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    status, answer = response.status, json.loads(response.read())
    connection.close()
    return status, answer


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_ends_what_was_interrupted_and_has_one_button(url: str, state: Path) -> None:
    store, token = ModelStore(state / "serving"), (state / "control" / "token").read_text()
    folder = strategy_folder(store, STRATEGY)

    def policy() -> Pointer:
        pointer = store.pointer(STRATEGY)
        assert pointer is not None
        return pointer

    def pending() -> tuple[StepName, ...]:
        return read_records(folder)[0].pending

    until(lambda: policy().revision == 4)
    assert policy().challenger is None and policy().version == "2"
    until(lambda: pending() == (StepName.REGISTRY, StepName.REPORT))  # the registry is away
    page = state / "reports" / "rollbacks" / f"{STRATEGY}-000003.html"
    until(page.exists)
    assert "Version 3 was taken back" in page.read_text() and "MLflow" in page.read_text()
    assert read_json(page.with_suffix(".json"))["before"]["revision"] == 3
    status, picture = request("GET", f"{url}/status")
    assert status == 200 and picture["healthy"]
    assert told(picture).startswith(f"guards {STRATEGY}")
    assert request("GET", f"{url}/metrics")[0] == 200

    assert press(url, "wrong", {"reason": "r"})[0] == 401
    assert press(url, token, "{")[0] == 400
    assert press(url, token, {"reason": " "}) == (400, {"error": "a rollback needs a reason: it is kept in the ledger"})
    refused = press(url, token, {"reason": "again", "by": "desk"})
    assert refused[0] == 409 and "say where to" in refused[1]["error"]
    assert press(url, token, {"reason": "r", "strategy": "tidegate-none"})[0] == 400
    assert policy().revision == 4
    status, answer = press(url, token, {"reason": "stop", "to": "flat", "by": "desk"})
    assert (status, answer["taken_back"], answer["target"], answer["actor"]) == (200, ["2"], None, "http:desk")
    assert policy().flat == "http:desk: stop"


def test_a_picture_of_a_guard_that_sleeps_is_no_answer() -> None:
    with pytest.raises(OSError, match="not looked lately"):
        told({"healthy": False, "troubles": {}, "triggers": [], "strategies": []})


def test_parameters_that_cannot_be_used_end_it_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    params["rollback"]["clear"] = 2.0
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    assert main(["--workspace", str(tmp_path)]) == 5
    assert "clear lies above 0" in capsys.readouterr().err
    assert UnavailableError.exit_code == 4
