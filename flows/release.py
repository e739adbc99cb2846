"""The release flow: carries the releases of a market on and shows on its page how they got where they are."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from core.clock import LiveClock
from core.database import create_engine, migrate
from core.errors import BadInputError
from core.params import read_params, required
from core.settings import Settings, get_settings
from flows.pipeline import workspace_folder
from serving.release.advance import advance
from serving.release.approvals import ApprovalLedger
from serving.release.effects import ReleaseRoom, build_bentos, policy_of, resume_all
from serving.release.findings import Findings
from serving.release.machine import missing
from serving.release.policy import ReleasePolicy
from serving.release.release_registry import moment, state_words
from serving.release.releases import Releases
from serving.release.signing import ApprovalKeys
from serving.release.states import SCORED, Release, TransitionRecord
from serving.store import ModelStore
from training.online.watch import release_watch


@flow(name="release", flow_run_name="release {workspace}", persist_result=False, log_prints=False)
async def release(workspace: str) -> dict[str, Any]:
    """Apply what is missing, ask the rules, write what they say, build the Bento of a new champion.

    Idempotent, and safe beside the release service: of two that decide at one moment one writes. Nothing here approves
    anything: a version without a standing approval stays where it is.

    Args:
        workspace: folder with ``params.yaml``, whose market names the strategy.

    Raises:
        BadInputError: a section of the parameters cannot be used, or no database is named.
        RefusedError: a release wants what cannot be done; the message says why.
        IntegrityError: a ledger or a package does not hold.
        UnavailableError: registry or database does not answer.
    """
    folder = workspace_folder(workspace)
    params = read_params(folder / "params.yaml")
    strategy = f"tidegate-{required(params, 'market', folder / 'params.yaml')}"
    outcome, records, found = await asyncio.to_thread(_carry_on, get_settings(), strategy, params)
    logger = get_run_logger()
    for state in outcome["reached"]:
        logger.info("%s is %s", state["release"], state["state"])
    logger.info("%s: %s", strategy, outcome["words"])
    key = strategy.lower().replace("_", "-").replace(".", "-")
    if records:
        rows = timeline_rows(records)
        await acreate_table_artifact(rows, key=f"release-{key}", description="how the release got where it is")
    if found is not None:
        await acreate_markdown_artifact(
            findings_text(outcome["words"], found), key=f"findings-{key}", description="what the online tests found"
        )
    return outcome


def timeline_rows(records: Sequence[TransitionRecord]) -> list[dict[str, Any]]:
    """Return one table row a transition, oldest first."""
    return [
        {
            "time": moment(record.time_ns),
            "release": record.release_id,
            "from": record.before or "new",
            "to": state_words(record),
            "by": record.actor,
            "cause": str(record.cause),
            "reason": record.reason,
            "record": f"{record.sequence} {record.hash[:12]}",
        }
        for record in records
    ]


def findings_text(words: str, found: Findings) -> str:
    """Return what the online tests found as markdown."""
    lines = [
        "## Champion and challenger on the same decisions",
        "",
        words,
        "",
        f"{found.decisions:,} decisions with a known outcome in this step, {found.pending:,} pending, "
        f"{found.blocks} blocks.",
        f"Challenger minus champion a block: {found.difference.mean:+.4%}, between {found.difference.low:+.4%} and "
        f"{found.difference.high:+.4%} at every moment with {found.difference.confidence:.0%} confidence.",
        "",
        "| test | e-value | largest | limit | |",
        "|---|---|---|---|---|",
        *(
            f"| {test.name} | {test.e_value:.3g} | {test.largest_e_value:.3g} | {test.threshold:.3g} "
            f"| {'**reached**' if test.rejected else ''} |"
            for test in found.tests
        ),
        "",
        "| version | arm | decisions | traded | net return | cost | log loss |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {arm.model_version} | {arm.arm} | {arm.decisions:,} | {arm.traded:,} | {arm.net_return:+.3%} "
            f"| {arm.cost:.3%} | {'–' if arm.log_loss is None else f'{arm.log_loss:.4f}'} |"
            for arm in found.arms
        ),
    ]
    return "\n".join(lines)


def _carry_on(
    settings: Settings, strategy: str, params: Mapping[str, Any]
) -> tuple[dict[str, Any], list[TransitionRecord], Findings | None]:
    url = settings.database.url
    if url is None:
        raise BadInputError("TIDEGATE_DATABASE__URL is not set: start the services with `tidegate up` first")
    engine, clock = create_engine(url.get_secret_value()), LiveClock()
    try:
        migrate(engine)
        room = ReleaseRoom(
            releases=Releases(engine, clock),
            approvals=ApprovalLedger(engine, clock, ApprovalKeys.of(settings)),
            store=ModelStore(settings.state / "serving"),
            settings=settings,
            clock=clock,
        )
        resume_all(room)
        watch = release_watch(engine, params)
        reached = advance(room, strategy, ReleasePolicy.read(params), watch)
        bentos = build_bentos(room, strategy)
        present = room.releases.current(strategy) or room.releases.champion(strategy)
        found = watch.findings(present) if present is not None and present.state in SCORED else None
        records = room.releases.history(present.release_id) if present is not None else []
    finally:
        engine.dispose()
    outcome: dict[str, Any] = {
        "strategy": strategy,
        "reached": [{"release": one.release_id, "state": one.words} for one in reached],
        "release": present.release_id if present is not None else None,
        "state": present.words if present is not None else None,
        "bentos": bentos,
        "words": _words(strategy, present, found),
    }
    return outcome, records, found


def _words(strategy: str, present: Release | None, found: Findings | None) -> str:
    if present is None:
        return f"nothing of {strategy} is being released"
    words = f"version {present.version} is {present.words} since {moment(present.entered_ns)}"
    waits = missing(present, policy_of(present), found)
    return f"{words}; it waits for {'; '.join(waits)}" if waits else words
