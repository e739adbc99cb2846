"""What the rules of a release are asked with on this platform: the online tests' findings and the market's time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from core.database.transactions import away
from core.errors import UnavailableError
from serving.release.advance import Watch
from serving.release.effects import policy_of
from serving.release.findings import Findings
from serving.release.states import Release, TransitionRecord
from trading.ledger.tables import decisions, sessions
from training.online.decisions import read_steps
from training.online.findings import findings_of, follow_both, found
from training.online.page import Chapter
from training.online.rules import Comparison, OnlineRules
from training.online.series import series_of


def release_watch(engine: sa.Engine, params: Mapping[str, Any] | None) -> Watch:
    """Return the watch on the trader's ledger.

    Args:
        engine: of the platform's database, migrated.
        params: content of the workspace's ``params.yaml``: sizing and blocks of the comparison. None: the releases are
            carried on as far as they go without findings.
    """

    def findings(release: Release) -> Findings | None:
        return None if params is None else findings_of_release(engine, release, params)

    def market_ns(strategy: str) -> int:
        return first_decision_after(engine, strategy)

    return Watch(findings=findings, market_ns=market_ns)


def findings_of_release(engine: sa.Engine, release: Release, params: Mapping[str, Any]) -> Findings:
    """Return what the online tests say of a release: tests over the whole comparison, counts of its present step.

    Raises:
        BadInputError: a section of the parameters is missing or wrong.
        UnavailableError: the database does not answer.
    """
    policy = policy_of(release)
    rules = OnlineRules.from_params(params, policy.alpha, policy.online)
    try:
        return findings_of(engine, comparison_of(release), rules)
    except DBAPIError as error:
        raise _away(error) from error


def comparison_of(release: Release) -> Comparison:
    """Return who is compared in a release, and since when."""
    return Comparison(
        strategy=release.strategy,
        champion=release.against,
        challenger=release.model_digest,
        since_ns=release.compared_ns,
        step_since_ns=release.market_ns,
    )


def chapter_of(
    engine: sa.Engine, release: Release, history: Sequence[TransitionRecord], params: Mapping[str, Any]
) -> Chapter:
    """Return what the page of a release shows.

    A release that has ended is shown as it was when it ended: later decisions are not its own.

    Raises:
        BadInputError: a section of the parameters is missing or wrong.
        UnavailableError: the database does not answer.
    """
    policy = policy_of(release)
    rules = OnlineRules.from_params(params, policy.alpha, policy.online)
    confidence = rules.settings.confidence
    if not release.against or not release.compared_ns:
        return Chapter(release, history, policy, None, None, confidence)
    last = history[-1].figures.get("findings") if not release.open else None
    until = None if last is None else int(last["time_ns"])
    comparison = comparison_of(release)
    if not release.open:
        comparison = replace(comparison, step_since_ns=None)  # of the whole: its last step was over when it ended
    try:
        steps = [
            step
            for step in read_steps(engine, release.strategy, comparison.since_ns)
            if until is None or step.time_ns <= until
        ]
    except DBAPIError as error:
        raise _away(error) from error
    paths = follow_both(steps, comparison, rules)  # the costly part, for both
    series = series_of(steps, comparison, rules, paths)
    findings = found(steps, comparison, rules, paths) if series is not None else None
    return Chapter(release, history, policy, findings, series, confidence)


def first_decision_after(engine: sa.Engine, strategy: str) -> int:
    """Return the first moment behind the strategy's last decision, UTC nanoseconds of market time; 0: there is none.

    Raises:
        UnavailableError: the database does not answer.
    """
    query = (
        sa.select(sa.func.max(decisions.c.time_ns))
        .select_from(decisions.join(sessions, decisions.c.session_id == sessions.c.session_id))
        .where(sessions.c.strategy == strategy)
    )
    try:
        with engine.connect() as connection:
            last = connection.execute(query).scalar_one_or_none()
    except DBAPIError as error:
        raise _away(error) from error
    return 0 if last is None else int(last) + 1


def _away(error: DBAPIError) -> UnavailableError:
    return away("the trader's ledger does not answer", error)
