"""The states of a release, the ways between them and who may take each.

A release is the way of one version of a strategy from candidate to champion. Its state changes only along ``EDGES``;
the ledger (``serving.release.releases``) refuses every other change, whoever asks for it.
"""

from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from core.errors import RefusedError


class ReleaseState(StrEnum):
    """Where a version stands on its way."""

    CANDIDATE = "candidate"  # registered, waits for its approval
    APPROVED = "approved"  # a person let it through, it gets no traffic yet
    SHADOW = "shadow"  # scored beside the champion, never traded
    CANARY = "canary"  # a share of the decisions is its own; ``step`` says which
    CHAMPION = "champion"
    REJECTED = "rejected"  # a reviewer said no, or its package does not hold
    ROLLED_BACK = "rolled_back"  # it harmed, or somebody took it back
    RETIRED = "retired"  # a successor took its place, or it was given up
    EXPIRED = "expired"  # older than the release policy allows, or its champion went away


OPEN = frozenset({ReleaseState.APPROVED, ReleaseState.SHADOW, ReleaseState.CANARY})  # one of them a strategy
SCORED = frozenset({ReleaseState.SHADOW, ReleaseState.CANARY})  # beside a champion
TERMINAL = frozenset({ReleaseState.REJECTED, ReleaseState.ROLLED_BACK, ReleaseState.RETIRED, ReleaseState.EXPIRED})


class Cause(StrEnum):
    """Who takes a way."""

    RULES = "rules"  # the release policy with what the online tests found
    REVIEWER = "reviewer"  # an approval or a rejection in the approval ledger
    OPERATOR = "operator"  # a person at the command line, with a reason
    ROLLBACK = "rollback"  # a guard or a person who took a version back


class Edge(NamedTuple):
    """One way: from (None: a release begins), to, who may take it, and when."""

    before: ReleaseState | None
    after: ReleaseState
    causes: frozenset[Cause]
    words: str


def _edges() -> tuple[Edge, ...]:
    S, C = ReleaseState, Cause  # noqa: N806 - a table reads better with short names
    rules, reviewer, operator = frozenset({C.RULES}), frozenset({C.REVIEWER}), frozenset({C.OPERATOR})
    rollback, harm = frozenset({C.ROLLBACK}), frozenset({C.RULES, C.ROLLBACK})
    edges = [
        Edge(None, S.CANDIDATE, rules | reviewer | operator, "a version asks for its approval, or has it"),
        Edge(None, S.CHAMPION, rollback, "a rollback gives an earlier champion its place back"),
        Edge(S.CANDIDATE, S.APPROVED, reviewer, "the approval stands, of two people where four eyes are asked for"),
        Edge(S.CANDIDATE, S.REJECTED, reviewer, "a reviewer rejected it"),
        Edge(S.CANDIDATE, S.EXPIRED, rules, "nobody decided in `review_days`"),
        Edge(S.CANDIDATE, S.RETIRED, operator, "`tidegate release abandon`"),
        Edge(S.APPROVED, S.SHADOW, rules, "a champion stands: the comparison begins"),
        Edge(S.APPROVED, S.CHAMPION, rules | operator, "no champion stands and `first: direct`; or `promote --now`"),
        Edge(S.SHADOW, S.CANARY, rules, "the exit tests of shadow hold"),
        Edge(S.SHADOW, S.CHAMPION, rules | operator, "they hold and there is no canary; or `promote --now`"),
        Edge(S.APPROVED, S.APPROVED, reviewer, "approved again, for another scope"),
        Edge(S.SHADOW, S.SHADOW, reviewer, "approved again, for another scope: the comparison goes on"),
        Edge(S.CANARY, S.CANARY, rules | reviewer, "the exit tests of a step hold: the next step; or approved again"),
        Edge(S.CANARY, S.CHAMPION, rules | operator, "the exit tests of the last step hold; or `promote --now`"),
        Edge(S.CHAMPION, S.CHAMPION, reviewer, "approved again, for another scope: it stands on the new approval"),
        Edge(S.CHAMPION, S.RETIRED, rules | operator, "a successor took its place"),
        Edge(S.CHAMPION, S.ROLLED_BACK, rollback, "a guard or a person took it back"),
    ]
    for state in (S.APPROVED, S.SHADOW, S.CANARY):
        edges += [
            Edge(state, S.REJECTED, rules | reviewer, "its approval was withdrawn, or its package does not hold"),
            Edge(state, S.ROLLED_BACK, harm, "a test for harm or calibration, a guard or a person took it back"),
            Edge(state, S.EXPIRED, rules, "older than `maximum_days`, or the champion beside it went away"),
            Edge(state, S.RETIRED, operator, "`tidegate release abandon`"),
        ]
    return tuple(edges)


EDGES = _edges()
_CAUSES = {(edge.before, edge.after): edge.causes for edge in EDGES}


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One release at one moment: what its transitions come to."""

    release_id: str  # <strategy>.<version>.<how often this version was released>
    strategy: str
    version: str
    model_digest: str
    evidence_digest: str
    state: ReleaseState
    step: int = 0  # of the canary
    approval: int = 0  # sequence in the approval ledger; 0: none yet
    against: str = ""  # model digest of the champion it is compared with
    opened_ns: int
    entered_ns: int  # of the present state and step
    market_ns: int = 0  # the same in the time of the market: outcomes after it are this step's
    compared_ns: int = 0  # market time at which the comparison began
    policy: dict[str, Any]  # as it was when the release was opened; see serving.release.policy
    number: int  # of its last transition, counted within the release
    sequence: int  # of its last transition in the ledger
    applied: int = 0  # sequence of the last transition whose effects are done
    bento: str = ""  # tag of the Bento of a promoted version, once it is built

    @property
    def open(self) -> bool:
        """Whether it holds the one place that a strategy has."""
        return self.state in OPEN

    @property
    def words(self) -> str:
        """The state for people, with the canary's step."""
        return f"{self.state} step {self.step + 1}" if self.state is ReleaseState.CANARY else str(self.state)


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """A change of state that somebody asks for."""

    to: ReleaseState
    cause: Cause
    reason: str
    step: int = 0
    figures: dict[str, Any] = {}
    approval: int = 0  # 0: as before
    against: str = ""  # empty: as before
    market_ns: int = 0


class TransitionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the ledger. Its hash covers all fields and the hash of the record before it."""

    sequence: int
    release_id: str
    number: int
    strategy: str
    version: str
    model_digest: str
    evidence_digest: str
    before: str  # empty: the release began
    after: ReleaseState
    step: int
    cause: Cause
    reason: str
    figures: dict[str, Any]
    approval: int
    against: str
    market_ns: int
    actor: str
    time_ns: int
    previous_hash: str
    hash: str = ""


def check_way(release: Release | None, transition: Transition) -> None:
    """Refuse a change of state that is no edge, or that its cause may not take.

    Raises:
        RefusedError: there is no such way, the step is not the next one, or there is no approval to stand on.
    """
    before = release.state if release else None
    what = f"release {release.release_id}" if release else "a release"
    causes = _CAUSES.get((before, transition.to))
    if causes is None:
        raise RefusedError(f"{what} is {before or 'new'}: it cannot become {transition.to}; nothing was changed")
    if transition.cause not in causes:
        raise RefusedError(
            f"{what}: {before or 'new'} becomes {transition.to} by {' or '.join(sorted(causes))}, not by "
            f"{transition.cause}; nothing was changed"
        )
    expected = 0
    if transition.to is ReleaseState.CANARY and release is not None and before is ReleaseState.CANARY:
        expected = release.step + (transition.cause is Cause.RULES)
    if transition.step != expected:
        raise RefusedError(
            f"{what}: step {transition.step + 1} of {transition.to} is not the next one ({expected + 1})"
        )
    approval = transition.approval or (release.approval if release else 0)
    if transition.to in OPEN | {ReleaseState.CHAMPION} and approval <= 0:
        raise RefusedError(f"{what} has no approval: it cannot become {transition.to}")
    if transition.to is before and transition.cause is Cause.REVIEWER and not transition.approval:
        raise RefusedError(f"{what} was not approved again: it stays {before}")
    if transition.to is ReleaseState.SHADOW and not (transition.against or (release and release.against)):
        raise RefusedError(f"{what} has no champion to be compared with: it cannot become {transition.to}")


def follow(release: Release | None, record: TransitionRecord) -> Release:
    """Return what a release becomes with its next record."""
    moved = release is None or (release.state, release.step) != (record.after, record.step)
    compared = release.compared_ns if release else 0
    return Release(
        release_id=record.release_id,
        strategy=record.strategy,
        version=record.version,
        model_digest=record.model_digest,
        evidence_digest=record.evidence_digest,
        state=record.after,
        step=record.step,
        approval=record.approval or (release.approval if release else 0),
        against=record.against or (release.against if release else ""),
        opened_ns=release.opened_ns if release else record.time_ns,
        entered_ns=record.time_ns if moved or release is None else release.entered_ns,
        market_ns=record.market_ns if moved or release is None else release.market_ns,
        compared_ns=record.market_ns if moved and record.after is ReleaseState.SHADOW else compared,
        policy=release.policy if release else record.figures.get("policy", {}),
        number=record.number,
        sequence=record.sequence,
        applied=release.applied if release else 0,
        bento=release.bento if release else "",
    )
