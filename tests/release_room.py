"""A release room on real stores (MLflow on SQLite, the platform's database, a model store) for tests of releases."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from serving_packages import verified

from core.clock import SimulatedClock
from core.database import create_engine, migrate
from core.settings import MlflowSettings, Settings
from serving.release.advance import Watch, advance
from serving.release.approval import Approval
from serving.release.approvals import ApprovalLedger, Decision, Scope, approve
from serving.release.effects import ReleaseRoom
from serving.release.evidence import VerifiedPackage
from serving.release.findings import ArmFigures, Bounds, Findings, SequentialTest
from serving.release.policy import CanaryStep, ReleasePolicy, Step
from serving.release.publish import registry_client
from serving.release.releases import Releases
from serving.release.signing import ApprovalKeys
from serving.release.states import Release
from serving.store import ModelStore

NAME = "tidegate-test"
START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
QUICK = ReleasePolicy(
    shadow=Step(minimum_decisions=10, minimum_blocks=2, maximum_days=10.0),
    canary=(
        CanaryStep(share=0.1, minimum_decisions=10, minimum_blocks=2, maximum_days=10.0),
        CanaryStep(
            share=0.5,
            minimum_decisions=20,
            minimum_blocks=2,
            maximum_days=10.0,
            tests=("benefit", "harm", "calibration"),
        ),
    ),
    bento=False,
)


EVIDENCE_DIGEST = "e" * 64


def approval(version: str, sequence: int) -> Approval:
    """An approval record as the ledger would hold it."""
    return Approval(
        sequence=sequence,
        time_ns=START_NS,
        strategy=NAME,
        version=version,
        model_digest=version * 64,
        evidence_digest=EVIDENCE_DIGEST,
        decision=Decision.APPROVED,
        scope=Scope.PAPER,
        by="reviewer",
        reason="read",
        previous_hash="0" * 64,
    )


def findings(
    decisions: int = 0, blocks: int = 0, benefit: float = 1.0, harm: float = 1.0, calibration: float = 1.0, **more: Any
) -> Findings:
    """Findings with given counts and e-values."""
    tests = tuple(
        SequentialTest(
            name=name, e_value=value, largest_e_value=value, threshold=20.0, rejected=value >= 20.0, observations=blocks
        )
        for name, value in (("benefit", benefit), ("harm", harm), ("calibration", calibration))
    )
    usual: dict[str, Any] = {
        "time_ns": START_NS,
        "decisions": decisions,
        "pending": 0,
        "blocks": blocks,
        "difference": Bounds(mean=0.0, low=float("-inf"), high=float("inf"), confidence=0.95),
        "tests": tests,
        "arms": (
            ArmFigures(
                arm="challenger",
                model_version="2",
                model_digest="2" * 64,
                decisions=decisions,
                traded=0,
                net_return=0.01,
                cost=0.001,
                log_loss=None,
            ),
        ),
    }
    return Findings(**(usual | more))


def make_registry(
    folder: Path, versions: int = 3, name: str = NAME, given: Sequence[VerifiedPackage] = ()
) -> tuple[Settings, dict[str, VerifiedPackage]]:
    """Register versions 1 to ``versions``, each another model, or those given; return settings and packages."""
    settings = Settings(state_directory=folder, mlflow=MlflowSettings(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}"))
    client = registry_client(settings)
    experiment = client.create_experiment("test", artifact_location=(folder / "artifacts").as_uri())
    client.create_registered_model(name)
    packages: dict[str, VerifiedPackage] = {}
    made = given or [
        verified(folder / "packages" / str(number), bias=float(number), strategy=name)
        for number in range(1, versions + 1)
    ]
    for number, package in enumerate(made, start=1):
        run = client.create_run(experiment)
        client.log_artifacts(run.info.run_id, str(package.folder), "package")
        tags = {"lineage.model_digest": package.model_digest}
        client.create_model_version(name, f"{run.info.artifact_uri}/package", run_id=run.info.run_id, tags=tags)
        packages[str(number)] = package
    return settings, packages


@dataclass
class Desk:
    """A room with a clock that stands where a test puts it, and findings that a test makes up."""

    room: ReleaseRoom
    packages: dict[str, VerifiedPackage]
    policy: ReleasePolicy = QUICK
    now: dict[str, Any] = field(default_factory=lambda: {"findings": None, "market_ns": START_NS})

    @property
    def clock(self) -> SimulatedClock:
        assert isinstance(self.room.clock, SimulatedClock)
        return self.room.clock

    @property
    def watch(self) -> Watch:
        return Watch(findings=self._findings, market_ns=lambda strategy: self.now["market_ns"])

    def approve(self, version: str, scope: Scope = Scope.PAPER, by: str = "reviewer") -> Approval:
        return approve(self.room.approvals, self.packages[version], version=version, scope=scope, by=by, reason="read")

    def reject(self, version: str) -> None:
        package = self.packages[version]
        self.room.approvals.append(
            strategy=NAME,
            version=version,
            model_digest=package.model_digest,
            evidence_digest=package.evidence_digest,
            decision=Decision.REJECTED,
            scope=Scope.PAPER,
            by="reviewer",
            reason="found a leak",
        )

    def find(self, decisions: int, blocks: int = 5, **tests: Any) -> None:
        """Say what the online tests find from now on, in the step of this moment; a new step begins with nothing."""
        present = self.room.releases.current(NAME)
        key = (present.release_id, present.state, present.step) if present else None
        self.now["findings"] = (key, findings(decisions, blocks, **tests))

    def advance(self) -> list[str]:
        """Advance and return the states reached."""
        return [release.words for release in advance(self.room, NAME, self.policy, self.watch)]

    def aliases(self) -> dict[str, str]:
        model = registry_client(self.room.settings).get_registered_model(NAME)
        return {alias: str(version) for alias, version in model.aliases.items()}

    def tags(self, version: str) -> dict[str, str]:
        return dict(registry_client(self.room.settings).get_model_version(NAME, version).tags)

    def served(self) -> tuple[str, str, str, float]:
        """Champion, challenger, mode and share of the policy in force."""
        pointer = self.room.store.pointer(NAME)
        if pointer is None or pointer.flat:
            return ("", "", "flat" if pointer else "", 0.0)
        challenger = pointer.challenger.version if pointer.challenger else ""
        return pointer.version, challenger, str(pointer.traffic.mode), pointer.traffic.share

    def _findings(self, release: Release) -> Findings | None:
        held = self.now["findings"]
        if held is None:
            return None
        key, found = held
        if key == (release.release_id, release.state, release.step):
            return found
        if key is None or key[0] != release.release_id:
            return None
        return msgspec.structs.replace(found, decisions=0, blocks=0)


def make_desk(settings: Settings, packages: dict[str, VerifiedPackage], folder: Path, database_url: str) -> Desk:
    """Open a desk on an empty database and store, with a registry that has no aliases."""
    client = registry_client(settings)
    for alias in client.get_registered_model(NAME).aliases:
        client.delete_registered_model_alias(NAME, alias)
    return open_desk(settings, packages, folder, database_url)


def open_desk(settings: Settings, packages: dict[str, VerifiedPackage], folder: Path, database_url: str) -> Desk:
    """Open a desk on what is there."""
    engine = create_engine(database_url)
    migrate(engine)
    clock = SimulatedClock(START_NS)
    room = ReleaseRoom(
        releases=Releases(engine, clock),
        approvals=ApprovalLedger(engine, clock, ApprovalKeys(folder / "keys")),
        store=ModelStore(folder / "serving"),
        settings=settings.model_copy(update={"state_directory": folder}),
        clock=clock,
    )
    return Desk(room, packages)
