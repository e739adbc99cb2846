"""What a drill says at its end: figures for a machine, a table for a person."""

from collections import Counter
from io import StringIO
from typing import Any

from tidegate.drill.day import DayResult
from tidegate.drill.run import DrillResult
from tidegate.drill.session import SeedResult

BUDGET_SECONDS = 5.0  # SIGKILL to trading again, reconciled
PREDICTOR_WORDS = "predictions: a hash of the decision id (no model: the engine is what is proven); market: simulated"


def percentile(values: list[float], share: float) -> float | None:
    """Return the value at ``share`` of the sorted list (nearest rank), None for an empty one."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def spread(values: list[float]) -> dict[str, Any]:
    """Return count, p50, p99 and the largest."""
    return {
        "count": len(values),
        "p50": percentile(values, 0.5),
        "p99": percentile(values, 0.99),
        "max": max(values, default=None),
    }


def figures(result: DrillResult) -> dict[str, Any]:
    """Return everything the drill found as one JSON object."""
    lives = [life for seed in result.seeds for life in seed.lives]
    struck = Counter(life.crash_point for life in lives if life.outcome == "struck")
    outcomes = Counter(life.outcome for life in lives)
    again = [life for life in lives if life.resumed and life.recovery]
    warm = [life.recovery for life in again if not life.cold]
    cold = [life.recovery + life.imports for life in again if life.cold]
    return {
        "passed": not result.failures,
        "seeds": len(result.seeds),
        "failed": [seed.seed for seed in result.failures],
        "seconds": round(result.seconds, 1),
        "workers": result.workers,
        "orders": sum(seed.orders for seed in result.seeds),
        "fills": sum(seed.fills for seed in result.seeds),
        "kills": outcomes["struck"] + outcomes["killed"],
        "kills_at_points": outcomes["struck"],
        "kills_at_random": outcomes["killed"],
        "faults": sum(life.faults for life in lives),
        "broker_restarts": sum(seed.broker_restarts for seed in result.seeds),
        "torn_journals": sum(seed.tears for seed in result.seeds),
        "styles": dict(sorted(Counter(seed.style for seed in result.seeds).items())),
        "databases": dict(sorted(Counter(seed.database for seed in result.seeds).items())),
        "points": {name: struck[name] for name in result.points},
        "points_never_struck": [name for name in result.points if not struck[name]],
        "recovery_seconds": spread(warm),
        "imports_seconds": spread([life.imports for life in lives if life.cold and life.imports]),
        "cold_recovery_seconds": spread(cold),
        "over_budget": sum(value > BUDGET_SECONDS for value in (*warm, *cold)),
        "simulated": True,
        "predictor": PREDICTOR_WORDS,
        "kept": result.keep if result.failures else None,
    }


def table(found: dict[str, Any]) -> str:
    """Return the figures as text for a person."""
    from rich.console import Console
    from rich.table import Table

    text = StringIO()
    console = Console(width=110, file=text)
    grid = Table(title="Kill drill: " + ("passed" if found["passed"] else "FAILED"), title_justify="left")
    grid.add_column("what")
    grid.add_column("figure", justify="right")
    for name in ("seeds", "orders", "fills", "kills_at_points", "kills_at_random", "faults", "broker_restarts",
                 "torn_journals", "seconds"):  # fmt: skip
        grid.add_row(name.replace("_", " "), f"{found[name]:,}")
    grid.add_row("failed seeds", ", ".join(map(str, found["failed"])) or "none")
    for name, words in (
        ("recovery_seconds", "recovery, process already up"),
        ("imports_seconds", "process start and imports (cold)"),
        ("cold_recovery_seconds", "whole restart of a cold process"),
    ):
        grid.add_row(words, _spread_words(found[name]))
    grid.add_row(f"restarts over {BUDGET_SECONDS:g} s", str(found["over_budget"]))
    points = Table(title="Kills at named points", title_justify="left")
    points.add_column("point")
    points.add_column("struck", justify="right")
    for name, count in found["points"].items():
        points.add_row(name, str(count))
    console.print(grid, points, found["predictor"])
    return text.getvalue()


def day_figures(day: DayResult) -> dict[str, Any]:
    """Return everything a day found as one JSON object."""
    lives = day.result.lives
    warm = [life.recovery for life in lives if life.resumed and life.recovery and not life.cold]
    return {
        "passed": not day.result.problems,
        "problems": list(day.result.problems),
        "market_hours": day.hours,
        "seconds": round(day.result.seconds, 1),
        "style": day.result.style,
        "database": day.result.database,
        "orders": day.result.orders,
        "fills": day.result.fills,
        "trader_kills": day.kills,
        "broker_kills": day.broker_kills,
        "database_outages": day.database_outages,
        "kill_switch_turned": day.switch_turned,
        "torn_journals": day.result.tears,
        "faults": day.faults,
        "recovery_seconds": spread(warm),
        "over_budget": sum(value > BUDGET_SECONDS for value in warm),
        "simulated": True,
        "predictor": PREDICTOR_WORDS,
    }


def day_table(found: dict[str, Any]) -> str:
    """Return a day's figures as text for a person."""
    from rich.console import Console
    from rich.table import Table

    text = StringIO()
    grid = Table(title="Day drill: " + ("passed" if found["passed"] else "FAILED"), title_justify="left")
    grid.add_column("what")
    grid.add_column("figure", justify="right")
    for name in ("market_hours", "seconds", "style", "database", "orders", "fills", "trader_kills", "broker_kills",
                 "database_outages", "kill_switch_turned", "torn_journals"):  # fmt: skip
        grid.add_row(name.replace("_", " "), str(found[name]))
    for kind, count in found["faults"].items():
        grid.add_row(f"fault {kind}", str(count))
    grid.add_row("recovery, process already up", _spread_words(found["recovery_seconds"]))
    Console(width=110, file=text).print(grid, *found["problems"], found["predictor"])
    return text.getvalue()


def _spread_words(values: dict[str, Any]) -> str:
    if not values["count"]:
        return "none measured"
    return f"p50 {values['p50']:.2f}  p99 {values['p99']:.2f}  max {values['max']:.2f} s  ({values['count']:,})"


def failure_line(seed: SeedResult, keep: str) -> str:
    """Return the one line about a failed seed: why, and how to repeat it."""
    more = f" (and {len(seed.problems) - 1} more)" if len(seed.problems) > 1 else ""
    return (
        f"seed {seed.seed} failed: {next(iter(seed.problems))}{more}; "
        f"repeat: tidegate drill kill --seeds 1 --seed-from {seed.seed}; kept in {keep}/seed-{seed.seed}"
    )
