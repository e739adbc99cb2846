"""The rules of a release: what happens next, as a pure function of the release, its policy and what was found.

Nothing is read and nothing written here: the same arguments give the same answer, so that every transition can be
computed again from its record. Looks cost nothing: the tests are valid at every moment at once (law 6), so this may be
asked every second.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from serving.release.approval import Approval
from serving.release.findings import Findings, SequentialTest
from serving.release.policy import ReleasePolicy, Step
from serving.release.states import SCORED, Cause, Release, ReleaseState, Transition
from serving.traffic.policy import Blend, Mode, Traffic

DAY_NS = 86_400 * 1_000_000_000
HOUR_NS = 3_600 * 1_000_000_000


class EntryChecks(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold before a release may go anywhere, as somebody found it just now."""

    approval: Approval | None  # that stands for exactly this model and evidence
    approvers: int = 0  # different people behind it
    rejected: bool = False  # the latest decision on the model is a rejection
    champion: str = ""  # model digest of who answers now; empty: nobody
    package_problem: str = ""  # why the package cannot be served; empty: it holds
    comparison_problem: str = ""  # why it cannot be scored beside the champion; empty: it can
    scope_problem: str = ""  # why it may not trade where the champion does; empty: it may


def next_transition(
    release: Release, policy: ReleasePolicy, findings: Findings | None, now_ns: int, checks: EntryChecks
) -> Transition | None:
    """Say what becomes of a release now; None: it stays.

    The order is the order of harm: a withdrawn approval, a package that does not hold; then a newer approval, which
    the release stands on from there; a champion that went away, a test for harm or calibration; then the exit tests;
    the age comes last, so that a step whose tests hold goes on.

    Args:
        release: as the ledger has it.
        policy: the one it was opened with.
        findings: counts of this step, tests of the whole comparison; None: nothing is known yet.
        now_ns: UTC nanoseconds, of the clock that stamps the ledger.
        checks: what was verified just now.
    """
    match release.state:
        case ReleaseState.CANDIDATE:
            return _candidate(release, policy, now_ns, checks)
        case ReleaseState.APPROVED:
            return _stopped(checks) or _again(release, checks) or _approved(release, policy, now_ns, checks)
        case ReleaseState.SHADOW | ReleaseState.CANARY:
            return _stopped(checks) or _again(release, checks) or _scored(release, policy, findings, now_ns, checks)
        case ReleaseState.CHAMPION:
            return _again(release, checks)
        case _:
            return None


def missing(release: Release, policy: ReleasePolicy, findings: Findings | None) -> tuple[str, ...]:
    """Say for people what a step still waits for; empty: nothing."""
    if release.state not in SCORED:
        return ()
    step = present_step(release, policy)
    if findings is None:
        return ("no decision of both versions has an outcome yet",)
    waits: list[str] = []
    if findings.decisions < step.minimum_decisions:
        waits.append(f"{findings.decisions:,} of {step.minimum_decisions:,} decisions with a known outcome")
    if findings.blocks < step.minimum_blocks:
        waits.append(f"{findings.blocks} of {step.minimum_blocks} blocks")
    if "benefit" in step.tests and not _rejected(findings.test("benefit"), policy.alpha.benefit):
        test = findings.test("benefit")
        value = f"{test.largest_e_value:.3g}" if test else "none"
        waits.append(f"evidence of a benefit: e-value {value}, {1 / policy.alpha.benefit:.3g} needed")
    end_ns = hand_over_end(release, policy)
    if findings.time_ns < end_ns:
        waits.append(f"the hand-over lasts {(end_ns - findings.time_ns) / HOUR_NS:.1f} more hours of market time")
    return tuple(waits)


def present_step(release: Release, policy: ReleasePolicy) -> Step:
    """Return the step a scored release is in."""
    return policy.step(None if release.state is ReleaseState.SHADOW else release.step)


def hand_over_end(release: Release, policy: ReleasePolicy) -> int:
    """Return the market time at which the blend has handed over; 0 outside the hand-over."""
    if release.state is not ReleaseState.CANARY or release.step < len(policy.canary):
        return 0
    return release.market_ns + int(policy.hand_over.hours * HOUR_NS)


def traffic_of(release: Release, policy: ReleasePolicy) -> Traffic:
    """Return how decisions are assigned while a release stands where it does."""
    if release.state is ReleaseState.SHADOW:
        return Traffic(mode=Mode.SHADOW, block_seconds=policy.block_seconds, salt=release.release_id)
    if release.state is not ReleaseState.CANARY:
        return Traffic()
    if release.step < len(policy.canary):
        share = policy.canary[release.step].share
        return Traffic(mode=Mode.CANARY, share=share, block_seconds=policy.block_seconds, salt=release.release_id)
    first = policy.canary[-1].share if policy.canary else 0.0
    blend = Blend(
        weighting=policy.hand_over.weighting,
        first=first,
        weight=1.0,
        start_ns=release.market_ns,
        end_ns=hand_over_end(release, policy),
    )
    return Traffic(mode=Mode.BLEND, block_seconds=policy.block_seconds, salt=release.release_id, blend=blend)


def figures_of(findings: Findings | None) -> dict[str, Any]:
    """Return findings as a record keeps them. A number that JSON does not have becomes null."""
    if findings is None:
        return {}
    return {"findings": _finite(msgspec.to_builtins(findings))}


def _candidate(release: Release, policy: ReleasePolicy, now_ns: int, checks: EntryChecks) -> Transition | None:
    if checks.rejected:
        return Transition(to=ReleaseState.REJECTED, cause=Cause.REVIEWER, reason="a reviewer rejected the version")
    needed = 2 if policy.four_eyes else 1
    if checks.approval is not None and checks.approvers >= needed:
        approval = checks.approval
        return Transition(
            to=ReleaseState.APPROVED,
            cause=Cause.REVIEWER,
            reason=f"approved for {approval.scope} by {approval.by}: {approval.reason}",
            figures={"approval_hash": approval.hash, "approvers": checks.approvers},
            approval=approval.sequence,
        )
    return _expired(release, policy.review_days, now_ns, "nobody decided on it")


def _again(release: Release, checks: EntryChecks) -> Transition | None:
    """A version that was approved once more stands on the newer approval from now on."""
    approval = checks.approval
    if approval is None or approval.sequence <= release.approval:
        return None
    return Transition(
        to=release.state,
        cause=Cause.REVIEWER,
        reason=f"approved again, for {approval.scope}, by {approval.by}: {approval.reason}",
        step=release.step,
        figures={"approval_hash": approval.hash},
        approval=approval.sequence,
    )


def _stopped(checks: EntryChecks) -> Transition | None:
    if checks.rejected or checks.approval is None:
        reason = "its approval was withdrawn" if checks.rejected else "its approval no longer stands"
        return Transition(to=ReleaseState.REJECTED, cause=Cause.REVIEWER, reason=reason)
    if checks.package_problem:
        return Transition(to=ReleaseState.REJECTED, cause=Cause.RULES, reason=checks.package_problem)
    return None


def _approved(release: Release, policy: ReleasePolicy, now_ns: int, checks: EntryChecks) -> Transition | None:
    if checks.champion == release.model_digest:
        return Transition(to=ReleaseState.CHAMPION, cause=Cause.RULES, reason="its model is the champion already")
    if checks.champion and checks.comparison_problem:
        return _expired(release, policy.review_days, now_ns, checks.comparison_problem)
    if checks.champion:
        return Transition(
            to=ReleaseState.SHADOW,
            cause=Cause.RULES,
            reason="approved: scored beside the champion, not traded",
            against=checks.champion,
        )
    if policy.first == "direct":
        return Transition(
            to=ReleaseState.CHAMPION, cause=Cause.RULES, reason="approved, and the strategy has no champion"
        )
    return _expired(release, policy.review_days, now_ns, "a first champion waits for `tidegate promote --now`")


def _scored(
    release: Release, policy: ReleasePolicy, findings: Findings | None, now_ns: int, checks: EntryChecks
) -> Transition | None:
    if checks.champion != release.against:
        reason = "the champion it was compared with no longer answers: the comparison is void"
        return Transition(to=ReleaseState.EXPIRED, cause=Cause.RULES, reason=reason, figures=figures_of(findings))
    step = present_step(release, policy)
    if findings is not None:
        for name, alpha in (("harm", policy.alpha.harm), ("calibration", policy.alpha.calibration)):
            test = findings.test(name)
            if (name == "harm" or name in step.tests) and test is not None and _rejected(test, alpha):
                return Transition(
                    to=ReleaseState.ROLLED_BACK,
                    cause=Cause.RULES,
                    reason=f"the test for {name} reached an e-value of {test.largest_e_value:.3g} "
                    f"(limit {1 / alpha:.3g}) after {test.observations} blocks",
                    figures={
                        **figures_of(findings),
                        "trigger": {"test": name, "value": _finite(test.largest_e_value), "limit": 1 / alpha},
                    },
                )
        if not missing(release, policy, findings) and not checks.scope_problem:
            return _onward(release, policy, findings)
    waits = [*missing(release, policy, findings), *([checks.scope_problem] if checks.scope_problem else [])]
    expired = _expired(release, step.maximum_days, now_ns, "; ".join(waits))
    return msgspec.structs.replace(expired, figures=figures_of(findings)) if expired else None


def _onward(release: Release, policy: ReleasePolicy, findings: Findings) -> Transition:
    words = f"{findings.decisions:,} decisions, {findings.blocks} blocks, {_words_of(findings.tests)}"
    following = 0 if release.state is ReleaseState.SHADOW else release.step + 1
    if following >= policy.step_count:
        to, step, reason = ReleaseState.CHAMPION, 0, f"all exit tests hold: {words}"
    elif following < len(policy.canary):
        to, step = ReleaseState.CANARY, following
        reason = f"exit tests hold: {words}; next {policy.canary[following].share:.3g} of the decisions"
    else:
        to, step, reason = ReleaseState.CANARY, following, f"exit tests hold: {words}; next the hand-over"
    return Transition(
        to=to,
        cause=Cause.RULES,
        reason=reason,
        step=step,
        figures=figures_of(findings),
        market_ns=findings.time_ns + 1,  # the decisions up to here were the step's before
    )


def _expired(release: Release, days: float, now_ns: int, words: str) -> Transition | None:
    if now_ns - release.entered_ns <= days * DAY_NS:
        return None
    reason = f"older than {days:g} days as {release.words}" + (f": {words}" if words else "")
    return Transition(to=ReleaseState.EXPIRED, cause=Cause.RULES, reason=reason)


def _rejected(test: SequentialTest | None, alpha: float) -> bool:
    """Whether a test has ever reached 1 / alpha. Not a number never does."""
    return test is not None and test.largest_e_value >= 1.0 / alpha


def _words_of(tests: Sequence[SequentialTest]) -> str:
    return ", ".join(f"e-value of {test.name} {test.largest_e_value:.3g}" for test in tests) or "no test"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in cast(dict[str, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in cast(Sequence[Any], value)]
    return value
