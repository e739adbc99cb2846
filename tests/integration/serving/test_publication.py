"""From a real MLflow registry to the store: nothing is published without its approval, and a raw alias move is seen."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from serving_packages import verified, write_package

from core.database import create_engine, migrate
from core.errors import BadInputError, IntegrityError, RefusedError
from core.settings import MlflowSettings, Settings, get_settings
from serving.release.approvals import ApprovalLedger, Decision, Scope, approve, head_table
from serving.release.evidence import VerifiedPackage
from serving.release.publish import publish, publish_package, registry_client
from serving.release.watch import ReleaseProblem, check_release
from serving.store import ModelStore

NAME = "tidegate-test"


@dataclass
class Platform:
    """A registry with versions 1 to 3, a ledger and a store."""

    settings: Settings
    ledger: ApprovalLedger
    store: ModelStore
    packages: dict[str, VerifiedPackage]

    def approve(self, version: str) -> None:
        approve(self.ledger, self.packages[version], version=version, scope=Scope.PAPER, by="reviewer", reason="read")

    def publish(self, version: str) -> str:
        pointer = publish(NAME, version, settings=self.settings, ledger=self.ledger, store=self.store)
        return pointer.version

    def check(self) -> list[ReleaseProblem]:
        alerts = check_release(NAME, NAME, settings=self.settings, ledger=self.ledger, store=self.store)
        assert all("\n" not in alert.words for alert in alerts)
        return [alert.problem for alert in alerts]

    def alias(self) -> str:
        return str(registry_client(self.settings).get_model_version_by_alias(NAME, "champion").version)

    def move_alias(self, version: str) -> None:
        registry_client(self.settings).set_registered_model_alias(NAME, "champion", version)

    def served(self) -> str | None:
        pointer = self.store.pointer(NAME)
        return pointer.version if pointer else None


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict[str, VerifiedPackage]]:
    """Versions 1 and 2 as training registers them; version 3 carries a lineage tag of another model."""
    folder = tmp_path_factory.mktemp("registry")
    settings = Settings(state_directory=folder, mlflow=MlflowSettings(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}"))
    client = registry_client(settings)
    experiment = client.create_experiment("test", artifact_location=(folder / "artifacts").as_uri())
    client.create_registered_model(NAME)
    packages: dict[str, VerifiedPackage] = {}
    for version in ("1", "2", "3"):
        package = verified(folder / version, bias=float(version), strategy=NAME)
        run = client.create_run(experiment)
        client.log_artifacts(run.info.run_id, str(package.folder), "package")
        digest = package.model_digest if version != "3" else "0" * 64
        created = client.create_model_version(
            NAME,
            f"{run.info.artifact_uri}/package",
            run_id=run.info.run_id,
            tags={"lineage.model_digest": digest},
        )
        assert str(created.version) == version
        packages[version] = package
    return settings, packages


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The key that signs the records lies in the state directory."""
    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(tmp_path / "state"))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def platform(registry: tuple[Settings, dict[str, VerifiedPackage]], tmp_path: Path) -> Iterator[Platform]:
    settings, packages = registry
    engine = create_engine(f"sqlite:///{tmp_path}/platform.db")
    migrate(engine)
    client = registry_client(settings)
    if "champion" in client.get_registered_model(NAME).aliases:
        client.delete_registered_model_alias(NAME, "champion")
    yield Platform(settings, ApprovalLedger(engine), ModelStore(tmp_path / "serving"), packages)
    engine.dispose()


def test_approval_then_publication_then_alias(platform: Platform) -> None:
    assert platform.check() == []
    with pytest.raises(RefusedError, match="no standing approval"):
        platform.publish("1")
    assert platform.served() is None
    platform.approve("1")
    assert platform.publish("1") == "1"
    assert (platform.served(), platform.alias(), platform.check()) == ("1", "1", [])
    loaded = platform.store.load(platform.store.pointer(NAME))  # type: ignore[arg-type]
    assert loaded.model_digest == platform.packages["1"].model_digest
    platform.approve("2")
    platform.publish("2")
    platform.publish("1")  # back, without fetching anything that is not there any more
    pointer = platform.store.pointer(NAME)
    assert pointer is not None
    assert (pointer.version, pointer.revision, platform.alias()) == ("1", 3, "1")


def test_a_raw_alias_move_raises_an_alert_and_changes_nothing(platform: Platform) -> None:
    platform.approve("1")
    platform.publish("1")
    before = platform.store.pointer(NAME)
    platform.move_alias("2")
    assert platform.check() == [ReleaseProblem.ALIAS_WITHOUT_APPROVAL]
    assert platform.store.pointer(NAME) == before
    assert platform.alias() == "2"
    platform.approve("2")
    assert platform.check() == [ReleaseProblem.ALIAS_DIFFERS]
    platform.publish("2")
    assert platform.check() == []


def test_a_rejection_after_publication_is_an_alert(platform: Platform) -> None:
    platform.approve("1")
    platform.publish("1")
    package = platform.packages["1"]
    platform.ledger.append(
        strategy=NAME,
        version="1",
        model_digest=package.model_digest,
        evidence_digest=package.evidence_digest,
        decision=Decision.REJECTED,
        scope=Scope.PAPER,
        by="reviewer",
        reason="found a leak",
    )
    assert platform.check() == [ReleaseProblem.APPROVAL_WITHDRAWN]
    assert platform.served() == "1"
    with pytest.raises(RefusedError, match="no standing approval"):
        platform.publish("1")


def test_a_broken_ledger_publishes_nothing(platform: Platform) -> None:
    platform.approve("1")
    platform.publish("1")
    platform.approve("2")
    with platform.ledger.engine.begin() as connection:
        connection.execute(head_table.update().values(hash="f" * 64))
    with pytest.raises(IntegrityError, match="ledger broken"):
        platform.publish("2")
    assert (platform.served(), platform.alias()) == ("1", "1")
    assert platform.check() == [ReleaseProblem.LEDGER_BROKEN]


def test_an_approval_of_other_evidence_or_another_version_does_not_stand_in(platform: Platform, tmp_path: Path) -> None:
    platform.approve("1")
    same_model = verified(tmp_path / "same", bias=1.0, strategy=NAME, passed=False)
    assert same_model.model_digest == platform.packages["1"].model_digest
    with pytest.raises(RefusedError, match="not for version 1 with evidence"):
        publish_package(same_model, version="1", ledger=platform.ledger, store=platform.store)
    with pytest.raises(RefusedError, match="not for version 9"):
        publish_package(platform.packages["1"], version="9", ledger=platform.ledger, store=platform.store)


def test_what_the_registry_cannot_give_is_one_clear_line(platform: Platform) -> None:
    platform.approve("3")
    with pytest.raises(IntegrityError, match="is tagged with model 0000"):
        platform.publish("3")
    with pytest.raises(BadInputError, match="no version 77 of tidegate-test"):
        platform.publish("77")
    assert platform.served() is None


def test_a_tampered_artifact_is_refused(
    platform: Platform, registry: tuple[Settings, dict[str, VerifiedPackage]]
) -> None:
    platform.approve("2")
    client = registry_client(platform.settings)
    run = client.get_run(client.get_model_version(NAME, "2").run_id)  # type: ignore[arg-type]
    path = Path(run.info.artifact_uri.removeprefix("file://")) / "package" / "manifest.json"
    original = path.read_bytes()
    try:
        path.write_bytes(original.replace(b'"horizon":1', b'"horizon":2'))
        with pytest.raises(IntegrityError, match=r"evidence\.manifest_digest"):
            platform.publish("2")
    finally:
        path.write_bytes(original)
    assert platform.served() is None


def test_a_replica_and_a_trader_import_neither_mlflow_nor_the_database(tmp_path: Path) -> None:
    write_package(tmp_path / "package")
    program = (
        "import sys\n"
        "import serving.application, serving.client, serving.fallback, serving.local\n"
        "from pathlib import Path\n"
        "from serving.release.evidence import verify_package\n"
        f"verify_package(Path({str(tmp_path / 'package')!r}))\n"
        "heavy = {'mlflow', 'sqlalchemy', 'pandas', 'torch', 'sklearn', 'xgboost', 'onnx', 'ray', 'fastapi'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
