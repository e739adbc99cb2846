"""Figures the guard cannot read in a tick: realised loss and online findings from the database, the drift report.

A loop reads them every few seconds; the guard takes what is known, with the time it was read. Figures of a policy that
is not in force any more, or older than half a minute, are none.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from core.clock import NANOSECONDS, Clock
from core.errors import BadInputError, TidegateError
from core.logging import get_logger
from serving.release.arm_figures import harm_measures
from serving.release.findings import Findings, TriggerKind
from serving.release.rollback import strategy_folder
from serving.release.triggers import Measure
from serving.store import ModelStore, Pointer
from serving.traffic.policy import Arm
from tidegate.release_losses import Loss

FRESH_SECONDS = 30.0
_log = get_logger("tidegate")


class SlowFigures:
    """What was last read, by strategy; the guard's thread reads, one loop writes.

    Args:
        store: the models of this machine.
        clock: of the machine.
        findings: of the release under way; None where there is none.
        losses: what each arm has lost since its policy was installed.
        drift_report: ``summary.json`` of the newest drift check.
    """

    def __init__(
        self,
        store: ModelStore,
        clock: Clock,
        findings: Callable[[Pointer], Findings | None],
        losses: Callable[[Pointer, int], Sequence[Loss]],
        drift_report: Path,
    ) -> None:
        self._store = store
        self._clock = clock
        self._findings = findings
        self._losses = losses
        self._drift_report = drift_report
        self._known: dict[str, tuple[int, int, tuple[Measure, ...]]] = {}  # time, revision, measures
        self._lock = threading.Lock()
        self.troubles: dict[str, str] = {}  # why a figure is not known, by its name

    def refresh(self) -> None:
        """Read everything once. What cannot be read is logged once per cause, stands in ``troubles``, hides nothing."""
        troubles: dict[str, str] = {}
        for strategy in self._store.strategies():
            policy = self._store.pointer(strategy)
            if policy is None or policy.flat:
                continue
            measures: list[Measure] = []
            for name, read in (("loss", self._loss), ("harm", self._harm), ("drift", self._drift)):
                try:
                    measures += read(policy)
                except TidegateError as error:
                    troubles[f"{name} of {strategy}"] = error.message
            with self._lock:
                self._known[strategy] = (self._clock.time_ns(), policy.revision, tuple(measures))
        for name, words in troubles.items():
            if self.troubles.get(name) != words:
                _log.warning("figure cannot be read", figure=name, words=words)
        self.troubles = troubles

    def measures(self, policy: Pointer) -> Sequence[Measure]:
        """Return what is known of a policy: a source of the guard."""
        with self._lock:
            time_ns, revision, measures = self._known.get(policy.strategy, (0, 0, ()))
        old = self._clock.time_ns() - time_ns > FRESH_SECONDS * NANOSECONDS
        return () if old or revision != policy.revision else measures

    def _loss(self, policy: Pointer) -> list[Measure]:
        return [
            Measure(
                kind=TriggerKind.LOSS,
                strategy=policy.strategy,
                arm=loss.arm,
                version=loss.version,
                value=loss.share,
                of=f"{loss.decisions} of its own decisions",
            )
            for loss in self._losses(policy, self._first_revision(policy))
        ]

    def _harm(self, policy: Pointer) -> list[Measure]:
        return harm_measures(self._findings(policy), policy) if policy.challenger is not None else []

    def _drift(self, policy: Pointer) -> list[Measure]:
        """Drift found after the policy was installed: before, the release knew of it."""
        try:
            found_ns = self._drift_report.stat().st_mtime_ns
            summary: Any = orjson.loads(self._drift_report.read_bytes())
            drifted, share, limit = summary["drifted"], summary["share_drifted"], summary["share_threshold"]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInputError(
                f"drift report {self._drift_report} cannot be read ({type(error).__name__}): `tidegate drift` again"
            ) from error
        if found_ns <= self._installed_ns(policy):
            return []
        standing, arm = (policy.challenger, Arm.CHALLENGER) if policy.challenger else (policy.champion, Arm.CHAMPION)
        if standing is None:
            return []
        return [
            Measure(
                kind=TriggerKind.DRIFT,
                strategy=policy.strategy,
                arm=arm.value,
                version=standing.version,
                value=float(share),
                limit=float(limit),
                crossed=bool(drifted),
                of=f"see {self._drift_report}",
            )
        ]

    def _installed_ns(self, policy: Pointer) -> int:
        """When the versions of a policy got their roles, by the machine's clock."""
        folder = strategy_folder(self._store, policy.strategy)
        file = folder / "policies" / f"{self._first_revision(policy)}.json"
        return (file if file.exists() else folder / "pointer.json").stat().st_mtime_ns

    def _first_revision(self, policy: Pointer) -> int:
        """The oldest policy in a row with the same versions in the same roles."""
        roles = [standing.approval.hash for standing in policy.standings]
        revision = policy.revision
        while revision > 1:
            before = self._store.policy_at(policy.strategy, revision - 1)
            if before is None or [standing.approval.hash for standing in before.standings] != roles:
                break
            revision -= 1
        return revision
