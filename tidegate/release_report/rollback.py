"""The page of one rollback: what triggered it, what was done when, who answers now, what is barred, what to do next."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from markupsafe import Markup, escape

from core.clock import NANOSECONDS, to_rfc3339
from core.files import read_json, write_bytes, write_json
from serving.release.findings import TriggerKind
from serving.release.rollback_completion import Action
from serving.release.rollback_record import Positions, RollbackRecord, StepName
from serving.traffic.statistics import ArmWindow, read_statistics
from tidegate.release_report.drawing import Bar, Moment, bars, timeline

FOLDER = "reports/rollbacks"  # under the state directory
_STEPS = {
    StepName.BARS: "barred",
    StepName.POLICY: "policy in force",
    StepName.POSITIONS: "positions",
    StepName.NOTIFICATION: "notification",
    StepName.CHECK: "replicas checked",
    StepName.APPROVALS: "approval ledger",
    StepName.RELEASE: "release ledger",
    StepName.REGISTRY: "MLflow",
    StepName.REPORT: "this page",
}
_NEXT = {
    TriggerKind.LATENCY: (
        "Look whether the machine was busy: `tidegate status`, and the replica's p99 of the version that answers now.",
        "If it is as slow, the model was not the cause: free the machine before anything is approved again.",
    ),
    TriggerKind.ERRORS: (
        "Read the replica's log (`serving.log` in the state directory) for what the version raised.",
        "Ask the version its warm-up vectors: `tidegate evidence VERSION` verifies its package.",
    ),
    TriggerKind.MISSING: (
        "Find the instruments without an answer in the predictions of the ledger, and look at their features.",
    ),
    TriggerKind.CONSTANT: (
        "Look at the features that reached it (`tidegate drift`): constant answers mean missing or clipped inputs.",
    ),
    TriggerKind.DRIFT: (
        "Read the drift report: which features moved, and whether the market moved or a feed broke.",
        "If the market moved: retrain. If a feed broke: repair it; the version may be approved again afterwards.",
    ),
    TriggerKind.HARM: (
        "Read the release page: where the challenger lost against the champion on the same decisions.",
        "Do not approve the same version again: the test has seen enough. Retrain.",
    ),
    TriggerKind.LOSS: (
        "Check the positions with the broker: `tidegate reconcile`.",
        "Look whether the loss is the version's (the other arm did not lose) or the market's.",
    ),
    TriggerKind.INTEGRITY: (
        "Find out who changed the file or the record: the message names it. Restore it from a backup.",
    ),
    TriggerKind.EXPIRED: ("Retrain; the release policy says how old a release may be.",),
    TriggerKind.MANUAL: ("Write down what the person saw: the reason is all the ledger has.",),
}


def report_path(state: Path, record: RollbackRecord) -> Path:
    """Return where the page of a rollback lies; its JSON lies beside it."""
    return state / FOLDER / f"{record.strategy}-{record.rollback_id}.html"


def report_action(state: Path) -> Action:
    """Return the action that writes the page and its JSON."""

    def act(record: RollbackRecord) -> str:
        path = report_path(state, record)
        if not _is_of(path, record):
            write_report(state, record, lambda: read_statistics(state))
        return str(path)

    return act


def write_report(state: Path, record: RollbackRecord, statistics: Callable[[], Sequence[ArmWindow]]) -> Path:
    """Write page and JSON of a rollback and return the page's path.

    Args:
        state: state directory.
        record: of the rollback; steps still to do are shown as such.
        statistics: what the replicas' arms do now.
    """
    now = [w for w in statistics() if w.strategy == record.strategy and w.current]
    after: list[dict[str, Any]] = [msgspec.to_builtins(window) for window in now]
    path = report_path(state, record)
    write_bytes(path, page(record, after).encode())
    write_json(path.with_suffix(".json"), {**msgspec.to_builtins(record), "answering_after": after})
    return path


def _is_of(path: Path, record: RollbackRecord) -> bool:
    """Whether page and JSON are there and show this record."""
    try:
        told: Any = read_json(path.with_suffix(".json"))
        return path.exists() and told["steps"] == list(msgspec.to_builtins(record.steps))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def page(record: RollbackRecord, after: Sequence[dict[str, Any]]) -> str:
    """Return the page. Every value is escaped but our own charts."""
    from training.pages import page_environment

    environment = page_environment("tidegate.release_report")
    environment.filters["commands"] = commands
    before = record.before
    champion, challenger = before.champion, before.challenger
    return environment.get_template("rollback.html").render(
        record=record,
        taken=", ".join(record.taken_back),
        time=_moment(record.time_ns),
        seconds=lambda name: _seconds(record, StepName(name)),
        steps=[(_STEPS[step.name], _seconds(record, step.name), step.words) for step in record.steps],
        pending=[_STEPS[name] for name in record.pending if name is not StepName.REPORT],
        drawn=timeline(_moments(record)),
        trigger_chart=_trigger_chart(record),
        before={
            "champion": champion.version if champion else "nobody",
            "challenger": challenger.version if challenger else "none",
            "traffic": _traffic(record),
            "revision": before.revision,
        },
        after={
            "champion": record.target.version if record.target else "nobody (flat)",
            "revision": record.revision,
        },
        arms_before=[_arm(window) for window in record.answering if window.get("current", True)],
        arms_after=[_arm(window) for window in after],
        next_steps=[*_NEXT[record.trigger.kind], *_positions_next(record), *_flat_next(record)],
    )


def commands(words: str) -> Markup:
    """Escape words and show what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(words))))


def _moments(record: RollbackRecord) -> list[Moment]:
    found = [Moment("trigger", 0.0, _moment(record.trigger.time_ns)[11:])]
    for step in record.steps:
        seconds = (step.time_ns - record.trigger.time_ns) / NANOSECONDS
        good = not step.words.startswith("NOT ")
        found.append(Moment(_STEPS[step.name], seconds, f"{seconds:.3f} s", good))
    return found


def _trigger_chart(record: RollbackRecord) -> Any:
    trigger = record.trigger
    if trigger.value is None or trigger.limit is None:
        return None
    name = f"{trigger.arm or 'policy'}: {trigger.kind.value}"
    rows = [Bar(name, trigger.value, f"{trigger.value:.4g}", True)]
    rows += _other_arm(record)
    return bars(rows, trigger.limit, f"limit {trigger.limit:.4g}")


def _other_arm(record: RollbackRecord) -> list[Bar]:
    """The same figure of the other arm, where the replicas had it."""
    read: dict[TriggerKind, Callable[[dict[str, Any]], float | None]] = {
        TriggerKind.LATENCY: lambda w: None if w["p99_ms"] is None else w["p99_ms"] / 1e3,
        TriggerKind.ERRORS: lambda w: w["errors"] / w["requests"] if w["requests"] else None,
        TriggerKind.MISSING: lambda w: w["missing_rows"] / w["rows"] if w["rows"] else None,
        TriggerKind.CONSTANT: lambda w: w["spread"],
    }
    figure = read.get(record.trigger.kind)
    others = [w for w in record.answering if w["current"] and w["arm"] != record.trigger.arm] if figure else []
    found: dict[str, float] = {}
    for window in others:
        value = figure(window) if figure else None
        if value is not None:
            found[window["arm"]] = max(value, found.get(window["arm"], 0.0))
    return [Bar(f"{arm}: {record.trigger.kind.value}", value, f"{value:.4g}") for arm, value in sorted(found.items())]


def _arm(window: dict[str, Any]) -> dict[str, Any]:
    def told(value: float | None, words: str) -> str:
        return "–" if value is None else words.format(value)

    return {
        "arm": window["arm"],
        "version": window["version"],
        "replica": window["pid"],
        "requests": window["requests"],
        "errors": window["errors"],
        "missing": window["missing_rows"],
        "p50": told(window["p50_ms"], "{:.2f} ms"),
        "p99": told(window["p99_ms"], "{:.2f} ms"),
        "spread": told(window["spread"], "{:.4g}"),
    }


def _traffic(record: RollbackRecord) -> str:
    traffic = record.before.traffic
    share = f", {traffic.share:.0%} of the decisions" if traffic.share else ""
    return f"{traffic.mode.value}{share}"


def _positions_next(record: RollbackRecord) -> tuple[str, ...]:
    if record.positions is Positions.KEEP:
        return ()
    return (
        "Positions were touched: check them with `tidegate reconcile`, then `tidegate kill-switch off --reason …`.",
    )


def _flat_next(record: RollbackRecord) -> tuple[str, ...]:
    if record.target is not None:
        return ()
    return (
        "Nobody answers: no trader opens anything. Approve a version you trust: `tidegate approve VERSION --reason …`.",
    )


def _seconds(record: RollbackRecord, name: StepName) -> str:
    step = record.step(name)
    return "pending" if step is None else f"{(step.time_ns - record.trigger.time_ns) / NANOSECONDS:.3f} s"


def _moment(time_ns: int) -> str:
    return f"{to_rfc3339(time_ns)[:23].replace('T', ' ')} UTC"
