"""What the serving drill says at its end: figures for a machine, a table for a person."""

from collections import Counter
from io import StringIO
from typing import Any

import msgspec

from tidegate.bench.machine import machine
from tidegate.drill.report import percentile
from tidegate.drill.serving import QUIET_PHASES, ServingResult
from tidegate.drill.serving_load import Asked

_SHOWN = 5  # failures and wrong answers are alike: the first ones say enough


def serving_figures(result: ServingResult) -> dict[str, Any]:
    """Return everything the drill found as one JSON object."""
    phases = {name: _phase(result, name) for name in dict.fromkeys(asked.phase for asked in result.asked)}
    failed = sum(phases[name]["failed"] for name in QUIET_PHASES if name in phases)
    missed = [asked for asked in result.decided if asked.failure]
    promises = {
        "no wrong answer": not result.wrong,
        "no failed request while policies change": failed == 0 and bool(result.asked),
        "no decision missed": not missed and bool(result.decided),
    }
    return {
        "passed": all(promises.values()),
        "promises": promises,
        "requests": len(result.asked),
        "wrong": len(result.wrong),
        "wrong_first": result.wrong[:_SHOWN],
        "failures_first": _first([asked for asked in result.asked if asked.failure]),
        "phases": phases,
        "policy_changes": result.changes,
        "old_policy_answered_ms": _milliseconds(result.stale_seconds),
        "trader": {
            "decisions": len(result.decided),
            "missed": len(missed),
            "missed_first": _first(missed),
            "answered_by": dict(
                Counter(str(one.predictions[0].answered_by) for one in result.decided if one.predictions)
            ),
            "latency_ms": _milliseconds([asked.ended - asked.sent for asked in result.decided]),
        },
        "replica_back_seconds": _rounded(result.replica_seconds),
        "ray_back_seconds": _rounded(result.restart_seconds),
        "seconds": round(result.seconds, 1),
        "order": msgspec.to_builtins(result.order),
        "machine": machine(),
    }


def serving_table(found: dict[str, Any]) -> str:
    """Return the figures as text for a person."""
    from rich.console import Console
    from rich.table import Table

    text = StringIO()
    console = Console(width=120, file=text)
    rate = found["order"]["per_second"]
    grid = Table(
        title=f"Serving drill at {rate:g}/s: " + ("passed" if found["passed"] else "FAILED"), title_justify="left"
    )
    for name in ("phase", "requests", "failed", "p50 ms", "p99 ms", "max ms", "decisions", "by fallback"):
        grid.add_column(name, justify="left" if name == "phase" else "right")
    for name, phase in found["phases"].items():
        latency = phase["latency_ms"]
        grid.add_row(
            name,
            f"{phase['requests']:,}",
            str(phase["failed"]),
            *(f"{latency[key]:.1f}" if latency["count"] else "–" for key in ("p50", "p99", "max")),
            str(phase["decisions"]),
            str(phase["by_fallback"]),
        )
    console.print(grid)
    trader, old = found["trader"], found["old_policy_answered_ms"]
    lines = [f"{'kept  ' if kept else 'BROKEN'} {promise}" for promise, kept in found["promises"].items()]
    lines.append(
        f"{found['wrong']} wrong answers in {found['requests']:,} requests and {trader['decisions']} decisions"
    )
    lines += [f"  {words}" for words in (*found["wrong_first"], *trader["missed_first"], *found["failures_first"])]
    if old["count"]:
        lines.append(
            f"{found['policy_changes']} policy changes; requests sent after one was written and still answered by the "
            f"policy before it: {old['count']}, the last {old['max']:.0f} ms after"
        )
    latency = trader["latency_ms"]
    lines.append(f"decisions: p50 {latency['p50']:.1f} ms, p99 {latency['p99']:.1f}, max {latency['max']:.1f}")
    for key, words in (("replica_back_seconds", "a killed replica"), ("ray_back_seconds", "Ray, ended and started,")):
        if found[key] is not None:
            lines.append(f"{words} was back after {found[key]} s")
    lines.append(f"machine: {', '.join(f'{name} {value}' for name, value in found['machine'].items())}")
    console.print("\n".join(lines), highlight=False)
    return text.getvalue()


def _phase(result: ServingResult, name: str) -> dict[str, Any]:
    asked = [one for one in result.asked if one.phase == name]
    decided = [one for one in result.decided if one.phase == name]
    answered = [one for one in asked if not one.failure]
    return {
        "requests": len(asked),
        "failed": len(asked) - len(answered),
        "latency_ms": _milliseconds([one.ended - one.due for one in answered]),
        "decisions": len(decided),
        "by_fallback": sum(one.predictions[0].answered_by == "local" for one in decided if one.predictions),
    }


def _first(failed: list[Asked]) -> list[str]:
    return [f"{words} ({count} times)" for words, count in Counter(one.failure for one in failed).most_common(_SHOWN)]


def _milliseconds(seconds: list[float]) -> dict[str, Any]:
    values = [round(value * 1e3, 2) for value in seconds]
    return {
        "count": len(values),
        "p50": percentile(values, 0.5),
        "p99": percentile(values, 0.99),
        "max": max(values, default=None),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
