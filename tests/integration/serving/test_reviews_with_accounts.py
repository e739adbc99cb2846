"""A real MLflow server that asks who one is: what its pages send, by reviewers and by others, and in a real browser."""

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from mlflow import MlflowClient
from pydantic import SecretStr
from registry_accounts import PASSWORDS, ROLES, Registry, accounts_settings, plugins
from review_room import ReviewRoom, register_version

from core.clock import LiveClock
from core.database import create_engine, migrate
from core.errors import BadInputError, RefusedError
from core.settings import get_settings
from serving.release.access import AccessLog
from serving.release.approval import Authentication, Decision, Scope
from serving.release.reviews import Outcome
from serving.release.signing import ApprovalKeys
from serving.release.webhooks import WebhookEvent, WebhookReceiver, ensure_webhook
from tidegate.accounts import add_account, list_accounts
from tidegate.mlflow_app.account import password_file, sign_in
from tidegate.platform import Addresses
from tidegate.processes.records import read_records
from tidegate.processes.supervisor import Supervisor
from tidegate.release_http import WEBHOOK_PATH, application
from tidegate.services.health import check_all
from tidegate.services.mlflow import mlflow_service

pytestmark = pytest.mark.heavy
CHROMIUM = Path("/usr/bin/chromium")
PICTURES = os.environ.get("TIDEGATE_GUIDE_IMAGES", "")  # a folder: the screenshots of the guide are made anew


class Listener:
    """The release service's HTTP face on a free port, with the real check of webhooks behind it."""

    def __init__(self) -> None:
        self.receiver: WebhookReceiver | None = None
        self.events: list[WebhookEvent] = []
        self.woken = threading.Event()
        self.port = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> "Listener":
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def told(self, headers: Any, body: bytes) -> None:
        assert self.receiver is not None
        self.events.append(self.receiver.receive(headers, body))
        self.woken.set()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        face = application(lambda: {"healthy": True, "troubles": {}}, lambda wish: {}, SecretStr("token"), self.told)
        runner = web.AppRunner(face)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
        self.port = int(runner.addresses[0][1])
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    running = Listener().start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, listener: Listener) -> Iterator[Registry]:
    state = tmp_path_factory.mktemp("state")
    settings = accounts_settings(state)
    webhook_url = f"http://127.0.0.1:{listener.port}{WEBHOOK_PATH}"
    settings = settings.model_copy(update={"mlflow": settings.mlflow.model_copy(update={"webhook_url": webhook_url})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
        plugins(state)
        patch.setenv("TIDEGATE_STATE_DIRECTORY", str(state))
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        for name, value in sign_in(settings).items():
            patch.setenv(name, value)
        get_settings.cache_clear()
        listener.receiver = WebhookReceiver(settings)
        with Supervisor(state) as supervisor:
            service = mlflow_service(state, settings=settings)
            supervisor.start(service)
            addresses = Addresses(settings, state, mlflow_uri=service.url)
            for name, role in ROLES.items():
                made = add_account(addresses, name, [role], PASSWORDS[name], state / "keys" / "accounts")
                assert made == {"name": name, "roles": [role], "made": True, "password_file": None}
            ensure_webhook(MlflowClient(service.url, service.url), settings)
            yield Registry(service.url, settings)
    get_settings.cache_clear()


@pytest.fixture
def room(registry: Registry, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ReviewRoom]:
    engine = create_engine(f"sqlite:///{tmp_path}/platform.db")
    migrate(engine)
    # The screenshots are for people: they show the model of the demo.
    browser = "browser" in request.node.name
    name = "tidegate-fixings" if browser else f"tidegate-{request.node.name.replace('_', '-')[:40]}"
    client = MlflowClient(registry.url, registry.url)
    register_version(client, name, tmp_path / "one")
    yield ReviewRoom(client, name, engine, ApprovalKeys(tmp_path / "keys"), LiveClock())
    engine.dispose()


def look(room: ReviewRoom, registry: Registry, **more: Any) -> list[Any]:
    return room.watch(access=AccessLog.of(registry.settings), alerts=room.alerts, **more)


def decide(registry: Registry, room: ReviewRoom, user: str, decision: str, reason: str) -> None:
    assert registry.tag(user, room.name, "1", "approval", decision) == 200
    assert registry.tag(user, room.name, "1", "approval_reason", reason) == 200


def test_a_reviewer_approves_and_everybody_else_is_refused_and_recorded(registry: Registry, room: ReviewRoom) -> None:
    for user in ("engineer_one", "desk_one"):
        assert registry.tag(user, room.name, "1", "approval", "approved") == 403
    alias = {"name": room.name, "alias": "champion", "version": "01"}
    assert registry.call("engineer_one", "POST", "registered-models/alias", alias)[0] == 403
    with pytest.raises(Exception, match="only accounts of role reviewer"):  # the platform itself, an administrator
        room.tag(approval="approved")
    assert look(room, registry) == [] and "approval" not in room.tags()
    refused = room.alerts.records()
    assert [record.problem for record in refused] == ["refused_change"] * 4
    assert refused[0].words.startswith("engineer_one (engineer) was refused to set_tag approval approved of version 1")

    decide(registry, room, "reviewer_one", "approved", "the evidence holds")
    (decision,) = look(room, registry)
    (record,) = room.ledger.verify_chain()
    assert (record.user, record.by, record.authentication) == (
        "reviewer_one",
        "reviewer_one",
        Authentication.MLFLOW_BASIC_AUTH,
    )
    assert (record.decision, record.reason, record.signed) == (Decision.APPROVED, "the evidence holds", True)
    assert decision.record == record
    assert "approved for paper by reviewer_one" in room.tags()["approval_status"]
    assert look(room, registry) == [] and len(room.alerts.records()) == 4
    # The engineer may still do an engineer's work.
    assert registry.tag("engineer_one", room.name, "1", "note", "retrained on Friday") == 200
    # Live needs an account, and has one: another scope is another decision, with a reason of its own.
    assert registry.tag("reviewer_one", room.name, "1", "approval_scope", "live") == 200
    assert look(room, registry) == []
    assert registry.tag("reviewer_one", room.name, "1", "approval_reason", "a month of paper") == 200
    (live,) = look(room, registry)
    assert live.record is not None and live.record.scope is Scope.LIVE


def test_two_must_approve_and_one_person_is_one(registry: Registry, room: ReviewRoom) -> None:
    decide(registry, room, "reviewer_one", "approved", "good")
    assert [d.outcome for d in look(room, registry, four_eyes=True)] == [Outcome.SUPPORTED]
    assert "approval" not in room.tags() and room.tags()["approval_status"].startswith("1 of 2")
    assert look(room, registry, four_eyes=True) == []
    decide(registry, room, "reviewer_one", "approved", "very good")
    (again,) = look(room, registry, four_eyes=True)
    assert again.outcome is Outcome.REFUSED and "a second person must" in again.words
    assert registry.tag("reviewer_two", room.name, "1", "approval", "approved") == 200
    look(room, registry, four_eyes=True)
    assert "one person decides" in room.tags()["approval_status"]  # the reason is still reviewer_one's
    assert registry.tag("reviewer_two", room.name, "1", "approval_reason", "I agree") == 200
    (second,) = look(room, registry, four_eyes=True)
    assert second.record is not None and (second.record.decision, second.record.user) == (
        Decision.APPROVED,
        "reviewer_two",
    )
    assert [r.decision for r in room.ledger.verify_chain()] == [Decision.SUPPORTED, Decision.APPROVED]


def test_tags_written_past_the_server_are_forged(registry: Registry, room: ReviewRoom) -> None:
    database = registry.settings.state / "mlflow" / "mlflow.db"
    with sqlite3.connect(database, timeout=20) as connection:
        rows = [("approval", "approved"), ("approval_reason", "trust me")]
        connection.executemany(
            "INSERT INTO model_version_tags (name, version, key, value, workspace) VALUES (?, 1, ?, ?, 'default')",
            [(room.name, key, value) for key, value in rows],
        )
    (forged,) = look(room, registry)
    assert forged.outcome is Outcome.REFUSED and "was not set through the server" in forged.words
    assert room.ledger.verify_chain() == []
    assert [record.problem for record in room.alerts.records()] == ["forged_tag"]
    assert look(room, registry) == []


def test_webhooks_wake_and_a_bad_signature_changes_nothing(
    registry: Registry, room: ReviewRoom, listener: Listener
) -> None:
    listener.woken.clear()
    decide(registry, room, "reviewer_one", "rejected", "no")
    assert listener.woken.wait(30)
    event = listener.events[-1]
    assert (event.entity, event.action) in {("model_version", "created"), ("model_version_tag", "set")}

    import requests

    body = json.dumps({"entity": "model_version_tag", "action": "set", "data": {"name": room.name}})
    headers = {"X-MLflow-Delivery-Id": "d", "X-MLflow-Timestamp": "1", "X-MLflow-Signature": "v1,AAAA"}
    answer = requests.post(f"http://127.0.0.1:{listener.port}{WEBHOOK_PATH}", data=body, headers=headers, timeout=10)
    assert answer.status_code == 403 and "signature does not hold" in answer.json()["error"]
    # MLflow's own go on coming in; this one is none of them.
    assert {"name": room.name} not in [event.data for event in listener.events]
    assert room.ledger.verify_chain() == []


def test_accounts_and_secrets_are_kept_apart(registry: Registry) -> None:
    addresses = Addresses(registry.settings, registry.settings.state, mlflow_uri=registry.url)
    folder = registry.settings.state / "keys" / "accounts"
    made = add_account(addresses, "new_desk", ["desk"], None, folder)
    path = Path(str(made["password_file"]))
    assert path.stat().st_mode & 0o777 == 0o600
    assert {"name": "new_desk", "roles": ["desk"]} in list_accounts(addresses)
    for arguments, words in (
        (("x", ["king"], None), "no role 'king'"),
        (("x", ["desk"], "short"), "12 or more"),
        (("tidegate", ["reviewer"], None), "decides nothing"),
    ):
        with pytest.raises(BadInputError, match=words):
            add_account(addresses, *arguments, folder)
    secret = password_file(registry.settings)
    assert secret.stat().st_mode & 0o777 == 0o600
    logs = "".join(path.read_text(errors="replace") for path in (registry.settings.state / "logs").iterdir())
    assert secret.read_text().strip() not in logs and PASSWORDS["reviewer_one"] not in logs
    (health,) = [h for h in check_all(read_records(registry.settings.state)) if h.name == "mlflow"]
    assert health.answers
    # Nobody gets a shell from the registry.
    assert registry.call("desk_one", "GET", "../../3.0/mlflow/assistant/config", {})[0] in (403, 404)


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium")
def test_a_reviewer_sets_the_tags_in_a_browser(registry: Registry, room: ReviewRoom, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    folder = Path(PICTURES) if PICTURES else tmp_path

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        context = browser.new_context(
            http_credentials={"username": "reviewer_one", "password": PASSWORDS["reviewer_one"]},
            viewport={"width": 1280, "height": 1000},
        )
        page = context.new_page()
        page.set_default_timeout(90_000)

        def show() -> None:
            page.goto(f"{registry.url}/#/models/{room.name}/versions/1")
            page.reload()
            page.get_by_role("cell", name="lineage.registered_by").wait_for()
            close = page.locator("[data-component-id='mlflow.assistant.chat_panel.close']")
            if close.count():
                close.click()

        def add(name: str, value: str) -> None:
            page.get_by_placeholder("Name").fill(name)
            page.get_by_placeholder("Value").fill(value)
            page.get_by_role("button", name="Add").last.click()
            page.get_by_role("cell", name=name, exact=True).wait_for()

        show()
        page.screenshot(path=folder / "reviewer-version.png")
        add("approval", "approved")
        page.screenshot(path=folder / "reviewer-approval.png")
        assert look(room, registry) == []  # without a reason
        show()
        page.get_by_role("cell", name="approval_status").wait_for()
        page.screenshot(path=folder / "reviewer-reason-missing.png")
        add("approval_reason", "Sharpe ratio holds at twice the spread; drift is low")
        (decision,) = look(room, registry)
        show()
        page.get_by_role("cell", name="approved for paper by reviewer_one").wait_for()
        page.screenshot(path=folder / "reviewer-recorded.png")
        browser.close()
    (record,) = room.ledger.verify_chain()
    assert decision.record == record
    assert (record.user, record.reason) == ("reviewer_one", "Sharpe ratio holds at twice the spread; drift is low")
    assert len(list(folder.glob("reviewer-*.png"))) == 4


def test_a_webhook_is_taken_once_and_only_fresh(tmp_path: Path) -> None:
    import base64
    import hashlib
    import hmac

    from serving.release.webhooks import webhook_secret

    settings = accounts_settings(tmp_path)
    receiver = WebhookReceiver(settings, clock=lambda: 1_000.0)
    body = b'{"entity":"model_version_tag","action":"set","timestamp":"t","data":{"name":"m"}}'

    def signed(delivery: str, moment: str, content: bytes) -> dict[str, str]:
        mac = hmac.new(webhook_secret(settings), f"{delivery}.{moment}.".encode() + content, hashlib.sha256)
        value = "v1," + base64.b64encode(mac.digest()).decode()
        return {"X-MLflow-Delivery-Id": delivery, "X-MLflow-Timestamp": moment, "X-MLflow-Signature": value}

    assert receiver.receive(signed("a", "1000", body), body).data == {"name": "m"}
    for headers, content, words in (
        (signed("a", "1000", body), body, "second time"),
        (signed("b", "600", body), body, "too old"),
        (signed("c", "1000", body), body + b" ", "signature does not hold"),
        ({}, body, "signature does not hold"),
    ):
        with pytest.raises(RefusedError, match=words):
            receiver.receive(headers, content)
    with pytest.raises(BadInputError, match="none of MLflow"):
        receiver.receive(signed("d", "1000", b"[]"), b"[]")
