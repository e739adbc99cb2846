"""What the replicas wrote about their arms, as the figures that the guard judges."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from core.clock import NANOSECONDS
from serving.release.findings import Findings, TriggerKind
from serving.release.triggers import Measure, RollbackParameters
from serving.traffic.pointer import Pointer
from serving.traffic.policy import Arm
from serving.traffic.statistics import ArmWindow, ReplicaStatistics

FRESH_SECONDS = 5.0  # a replica writes four times a second; older figures say nothing about now
_VARIETY = 20  # different inputs before equal answers mean something


def arm_measures(
    windows: Iterable[ArmWindow], policy: Pointer, parameters: RollbackParameters, now_ns: int
) -> list[Measure]:
    """Return latency, errors, missing and constant predictions of each arm of a policy, over all replicas.

    An arm with fewer than ``minimum_rows`` in the last minute is judged by everything since it was installed; with
    fewer than that altogether its rates are unknown. A latency is a quantile: it needs that many requests in one
    replica, and the slowest replica counts.
    """
    found: list[Measure] = []
    fresh = [w for w in windows if w.current and now_ns - w.time_ns <= FRESH_SECONDS * NANOSECONDS]
    for arm, standing in ((Arm.CHAMPION, policy.champion), (Arm.CHALLENGER, policy.challenger)):
        own = [] if standing is None else [w for w in fresh if _is(w, policy.strategy, arm, standing.model_digest)]
        if standing is None or not own:
            continue
        least = parameters.minimum_rows

        def measure(
            kind: TriggerKind,
            value: float | None,
            of: str,
            limit: float | None = None,
            crossed: bool | None = None,
            role: tuple[str, str] = (arm.value, standing.version),
        ) -> Measure:
            return Measure(
                kind=kind,
                strategy=policy.strategy,
                arm=role[0],
                version=role[1],
                value=value,
                limit=limit,
                crossed=crossed,
                of=of,
            )

        slowest = max((w.p99_ms for w in own if w.p99_ms is not None and w.requests >= least), default=None)
        requests = f"{sum(w.requests for w in own)} requests of the last minute"
        found.append(measure(TriggerKind.LATENCY, None if slowest is None else slowest / 1e3, requests))
        recent = sum(w.rows for w in own) >= least
        counted = [(w.requests, w.errors, w.rows, w.missing_rows) for w in own]
        if not recent:
            counted = [(w.total_requests, w.total_errors, w.total_rows, w.total_missing_rows) for w in own]
        asked, failed, rows, missing = (sum(column) for column in zip(*counted, strict=True))
        span = "of the last minute" if recent else "since it was installed"
        enough = rows >= least and asked > 0
        found.append(measure(TriggerKind.ERRORS, failed / asked if enough else None, f"{failed} of {asked} {span}"))
        found.append(measure(TriggerKind.MISSING, missing / rows if enough else None, f"{missing} of {rows} {span}"))
        varied = [w for w in own if w.sampled_rows >= min(least, 256) and w.distinct_inputs >= _VARIETY]
        spread = max((w.spread for w in varied if w.spread is not None), default=None)
        if parameters.constant_spread is not None and spread is not None:
            words = f"{sum(w.sampled_rows for w in varied)} rows with {sum(w.distinct_inputs for w in varied)} inputs"
            flat = spread <= parameters.constant_spread
            found.append(measure(TriggerKind.CONSTANT, spread, words, parameters.constant_spread, flat))
    return found


def integrity_measures(replicas: Iterable[ReplicaStatistics], policy: Pointer, now_ns: int) -> list[Measure]:
    """Return how many replicas cannot load a version of a policy: its package is not what was approved, or is gone.

    A replica that carries out the policy all the same does so without its challenger.
    """
    failing: dict[Arm, list[str]] = {}
    for replica in replicas:
        words = replica.failures.get(policy.strategy)
        if words is None or now_ns - replica.time_ns > FRESH_SECONDS * NANOSECONDS:
            continue
        whole = replica.revisions.get(policy.strategy, 0) >= policy.revision and policy.challenger is not None
        failing.setdefault(Arm.CHALLENGER if whole else Arm.CHAMPION, []).append(words)
    found: list[Measure] = []
    for arm, words in failing.items():
        standing = policy.challenger if arm is Arm.CHALLENGER else policy.champion
        if standing is not None:
            found.append(
                Measure(
                    kind=TriggerKind.INTEGRITY,
                    strategy=policy.strategy,
                    arm=arm.value,
                    version=standing.version,
                    value=float(len(words)),
                    limit=0.0,
                    of=words[0],
                )
            )
    return found


def harm_measures(findings: Findings | None, policy: Pointer) -> list[Measure]:
    """Return the e-value for harm of the challenger, if findings are of this challenger."""
    challenger = policy.challenger
    if findings is None or challenger is None:
        return []
    digests = {figures.model_digest for figures in findings.arms}
    test = findings.test("harm")
    if test is None or challenger.model_digest not in digests:
        return []
    return [
        Measure(
            kind=TriggerKind.HARM,
            strategy=policy.strategy,
            arm=Arm.CHALLENGER.value,
            version=challenger.version,
            value=test.largest_e_value,
            limit=test.threshold,
            crossed=test.rejected,
            of=f"{findings.decisions} decisions in {test.observations} blocks",
        )
    ]


def plain(windows: Sequence[ArmWindow], strategy: str) -> list[dict[str, Any]]:
    """Return the figures of a strategy's arms as plain values, for the record of a rollback."""
    return [msgspec.to_builtins(window) for window in windows if window.strategy == strategy]


def _is(window: ArmWindow, strategy: str, arm: Arm, model_digest: str) -> bool:
    return (window.strategy, window.arm, window.model_digest) == (strategy, arm.value, model_digest)
