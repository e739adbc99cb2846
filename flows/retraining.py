"""The flow that looks whether a new model is asked for, and makes it: each reason once, one retraining at a time."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from prefect import flow, get_run_logger
from prefect.artifacts import acreate_table_artifact
from sqlalchemy.exc import SQLAlchemyError

from core.database import create_engine, migrate
from core.errors import TidegateError, UnavailableError
from core.files import read_json
from core.params import read_params, required
from core.settings import get_settings
from flows.approval import start_approval
from flows.pipeline import workspace_folder
from flows.retrain import retrain
from serving.release.evidence import Evidence
from serving.store import ModelStore
from trading.strategy.sizing import SizingParameters
from training.retraining.live import live_skill, reference_score
from training.retraining.observe import observe
from training.retraining.parameters import retraining_parameters
from training.retraining.reasons import LiveSkill, Reason, ReasonKind, reasons_of
from training.retraining.requests import Asked, Ended, Outcome, RetrainingRecord


@flow(name="retraining", flow_run_name="retraining {workspace}", persist_result=False, log_prints=False)
async def retraining(workspace: str, reason: str = "", dry_run: bool = False) -> dict[str, Any]:
    """Look what asks for a new model of a workspace's market, and make it if something does.

    What was asked and answered before is not asked again; after a retraining nothing but a person asks for a while.
    The new version is registered with its evidence and waits for approval like any other: it replaces nobody here.

    Args:
        workspace: folder with ``dvc.yaml`` and ``params.yaml``.
        reason: of a person who asks for one whatever the triggers say; empty: the triggers decide.
        dry_run: say what asks, and make nothing.

    Raises:
        BadInputError: the parameters or a file of the workspace cannot be read.
        RefusedError: a retraining of this market is under way.
        TidegateError: the retraining failed; it is written down as failed and may be asked for again.
    """
    folder = workspace_folder(workspace)
    params = read_params(folder / "params.yaml")
    parameters = retraining_parameters(params)
    strategy = f"tidegate-{required(params, 'market', folder / 'params.yaml')}"
    settings = get_settings()
    record = RetrainingRecord(settings.state / "retraining", strategy)
    now = time.time_ns()
    store = ModelStore(settings.state / "serving")
    live = await asyncio.to_thread(_live, store, strategy, params)
    seen = await asyncio.to_thread(observe, folder, strategy, store, now, live)
    found = reasons_of(seen, parameters) if seen is not None else []
    asking = record.unanswered(found)
    if reason:
        asking.append(Reason(ReasonKind.MANUAL, f"manual-{now}", None, None, reason))
    pause = 0.0 if reason else record.pause_left_seconds(now, parameters.pause_hours)
    words = _words(found, asking, pause) if seen or asking else "no model was ever made here: `tidegate retrain` does"
    get_run_logger().info("%s: %s", strategy, words)
    outcome: dict[str, Any] = {
        "strategy": strategy,
        "reasons": msgspec.to_builtins(found),
        "asking": msgspec.to_builtins(asking),
        "pause_left_seconds": round(pause, 1),
        "words": words,
        "retrained": False,
    }
    if not asking or pause > 0 or dry_run:
        return outcome
    with record.open_request(asking, now) as asked:
        registered, ended = await _answer(record, asked, folder)
    await _show(asking, ended)
    return {**registered, **outcome, **msgspec.to_builtins(ended), "retrained": True}


def _live(store: ModelStore, strategy: str, params: Mapping[str, Any]) -> LiveSkill | None:
    """How the champion's forecasts fared since it was approved; None where that cannot be told."""
    url, pointer = get_settings().database.url, store.pointer(strategy)
    if (
        url is None
        or pointer is None
        or pointer.approval is None
        or params["labels"].get("kind", "fixed_horizon") != "fixed_horizon"
    ):
        return None
    reference = reference_score(Evidence.load(store.package_folder(strategy, pointer.evidence_digest)))
    if reference is None:
        return None
    engine = create_engine(url.get_secret_value())
    try:
        migrate(engine)
        sizing, since = SizingParameters.from_params(params), pointer.approval.time_ns
        return live_skill(engine, strategy, pointer.model_digest, reference, sizing, since)
    except (UnavailableError, SQLAlchemyError) as error:
        # The other reasons can be looked at without the trader's ledger; the next look is in a quarter of an hour.
        get_run_logger().warning("live forecasts not looked at: %s", str(error).splitlines()[0])
        return None
    finally:
        engine.dispose()


async def _answer(record: RetrainingRecord, asked: Asked, workspace: Path) -> tuple[dict[str, Any], Ended]:
    """Retrain, write down what came of it, and return both."""
    before = _registered(workspace)
    try:
        registered = await retrain(str(workspace))
    except BaseException as error:
        words = error.message if isinstance(error, TidegateError) else f"ended by {type(error).__name__}"
        record.end(asked, Outcome.FAILED, "", words, time.time_ns())
        raise
    version, verdict = str(registered["version"]), registered["verdict"]
    if registered["evidence_digest"] != before:
        words = f"version {version} of {registered['name']} registered, gate {verdict}; it waits for approval"
        ended = record.end(asked, Outcome.NEW_VERSION, version, words, time.time_ns())
        if verdict == "passed":
            await start_approval(registered["name"], version, "retraining")
        return registered, ended
    words = f"data, code and parameters are those of version {version}: there is nothing new to learn from"
    return registered, record.end(asked, Outcome.NOTHING_NEW, version, words, time.time_ns())


def _registered(workspace: Path) -> str:
    """The evidence digest of the newest registered version, empty where there is none."""
    path = workspace / "models" / "registered.json"
    return str(read_json(path)["evidence_digest"]) if path.is_file() else ""


def _words(found: list[Reason], asking: list[Reason], pause: float) -> str:
    if not asking:
        answered = f"; answered before: {', '.join(reason.kind for reason in found)}" if found else ""
        return f"nothing asks for a new model{answered}"
    what = "; ".join(f"{reason.kind}: {reason.words}" for reason in asking)
    return f"{what} (waits {pause / 3600:.1f} h after the last retraining)" if pause > 0 else what


async def _show(asking: list[Reason], ended: Ended) -> None:
    rows = [{"reason": str(reason.kind), "what": reason.words} for reason in asking]
    await acreate_table_artifact(
        [*rows, {"reason": "outcome", "what": ended.words}],
        key="retraining",
        description="what asked for a new model and what came of it",
    )
