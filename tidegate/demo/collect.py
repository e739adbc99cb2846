"""Turn what the stages wrote into the summary and the report's series."""

import math
from pathlib import Path
from typing import Any

from core.clock import to_datetime
from core.files import read_json
from monitoring.report.summary import ChartData, Curve, HopLatency, ModelSkill, Trading


def _value(entry: dict[str, Any] | None, key: str = "value") -> float | None:
    found = None if entry is None else entry.get(key)
    return None if found is None else float(found)


def model_skills(evaluation: dict[str, Any]) -> list[ModelSkill]:
    """Return models, then baselines, each by log loss."""
    rows: list[ModelSkill] = []
    for group, baseline in (("models", False), ("baselines", True)):
        for name, entry in evaluation[group].items():
            strategy, skill = entry["strategy"], entry.get("skill")
            note = "packaged" if name == evaluation["chosen"] else ""
            rows.append(
                ModelSkill(
                    name=name,
                    baseline=baseline,
                    log_loss=_value(entry, "log_loss"),
                    skill=_value(skill),
                    skill_low=_value(skill, "low"),
                    skill_high=_value(skill, "high"),
                    brier=_value(entry, "brier"),
                    hit_rate=_value(entry.get("hit_rate")),
                    net_return_per_year=_value(strategy["net_return_a_year"]),
                    sharpe=_value(strategy["sharpe"]),
                    sharpe_low=_value(strategy["sharpe"], "low"),
                    sharpe_high=_value(strategy["sharpe"], "high"),
                    note=note,
                )
            )
    return sorted(rows, key=lambda row: (row.baseline, math.inf if row.log_loss is None else row.log_loss))


def trading(session: dict[str, Any], seconds: float) -> Trading:
    """Return the trading part from a session summary."""
    trades = session["trades"]
    costs = {name: float(value) for name, value in session["costs"].items()}
    return Trading(
        session=session["session_id"],
        first_decision=_day(session["first_step_ns"]),
        last_decision=_day(session["last_step_ns"]),
        decisions=session["decisions"],
        answered_by=session["predictions"],
        orders=session["orders"],
        fills=session["fills"],
        stops_hit=session["stops_filled"],
        rejects=session["rejects"],
        hit_rate=session["hit_rate"],
        hits=sum(trade["profit"] > 0 for trade in trades),
        closed=len(trades),
        profit=session["equity"] - session["start_balance"],
        profit_realised=session["profit_realised"],
        profit_unrealised=session["profit_unrealised"],
        costs=costs,
        initial_balance=session["start_balance"],
        final_value=session["equity"],
        maximum_drawdown=session["maximum_drawdown"],
        currency=session["account_currency"],
        seconds=seconds,
    )


def latencies(session: dict[str, Any]) -> list[HopLatency]:
    """Return the latency of each hop in the order of the loop."""
    return [
        HopLatency(hop, int(row["count"]), row["p50_ms"], row["p90_ms"], row["p99_ms"])
        for hop, row in session["latencies"].items()
    ]


def chart_data(
    workspace: Path, session: dict[str, Any], fills: list[dict[str, Any]], prices: dict[str, Curve]
) -> ChartData:
    """Return the report's series.

    Args:
        workspace: with ``reports/evaluation``.
        session: session summary.
        fills: the broker's ORDER_FILL transactions.
        prices: by instrument, the recorded prices of the traded window.
    """
    reports = workspace / "reports" / "evaluation"
    evaluation = read_json(reports / "evaluation.json")
    curves = read_json(reports / "equity.json")
    times, values = [row[0] for row in session["equity_curve"]], [row[1] for row in session["equity_curve"]]
    trades: dict[str, list[list[Any]]] = {}
    for fill in fills:
        row = [fill["time"][:19] + "Z", float(fill["price"]), float(fill["units"]), fill["reason"]]
        trades.setdefault(fill["instrument"], []).append(row)
    calibration = {
        f"{name}, {side}": [[row["probability"], row["frequency"], row["count"]] for row in entry["reliability"][side]]
        for name, entry in evaluation["models"].items()
        if name == evaluation["chosen"]
        for side in ("short", "long")
    }
    images = {"Feature importance": reports / "feature_importance.png", "Log loss per fold": reports / "log_loss.png"}
    return ChartData(
        equity=Curve([_stamp(t) for t in times], [float(v) for v in values]),
        out_of_sample_equity=_curves(curves),
        calibration=calibration,
        prices=prices,
        trades=trades,
        exposure=exposure_curve(fills, prices, dict(zip((_stamp(t) for t in times), values, strict=True))),
        images={title: str(path) for title, path in images.items() if path.exists()},
    )


def _curves(content: dict[str, Any]) -> dict[str, Curve]:
    times = [stamp[:19] + "Z" for stamp in content["times"]]
    return {name: Curve(times, [float(v) for v in values]) for name, values in content["equity"].items()}


def exposure_curve(fills: list[dict[str, Any]], prices: dict[str, Curve], equity: dict[str, float]) -> Curve:
    """Return gross exposure in multiples of account value after each step.

    Units are converted through the recorded prices against the dollar; an instrument whose base has no such price
    counts with its own price and its quote's rate.
    """
    events = sorted(fills, key=lambda fill: (fill["time"], int(fill["id"])))
    rows = {name: dict(zip(curve.times, curve.values, strict=True)) for name, curve in prices.items()}
    held: dict[str, float] = {}
    last: dict[str, float] = {}
    times, values, cursor = list[str](), list[float](), 0
    for stamp, value in equity.items():
        while cursor < len(events) and events[cursor]["time"][:19] + "Z" <= stamp:
            fill = events[cursor]
            held[fill["instrument"]] = held.get(fill["instrument"], 0.0) + float(fill["units"])
            cursor += 1
        for name, row in rows.items():
            last[name] = row.get(stamp, last.get(name, math.nan))
        gross = sum(abs(units) * _in_dollars(name.partition("_")[0], last) for name, units in held.items())
        times.append(stamp)
        values.append(gross / value if value > 0 else math.nan)
    return Curve(times, values)


def _in_dollars(currency: str, prices: dict[str, float]) -> float:
    if currency == "USD":
        return 1.0
    if f"{currency}_USD" in prices:
        return prices[f"{currency}_USD"]
    if f"USD_{currency}" in prices:
        return 1.0 / prices[f"USD_{currency}"]
    return 1.0


def recorded_prices(workspace: Path, instruments: list[str], start_ns: int, end_ns: int) -> dict[str, Curve]:
    """Return the recorded middle price of each instrument over the traded window, thinned to a screen's width."""
    from data.panel import load_panel

    panel = load_panel(workspace / "data" / "raw" / "catalog", instruments, start_ns, end_ns + 1)
    bid, ask = panel.values[:, :, 3], panel.values[:, :, 7]
    stride = max(1, len(panel.time_ns) // 2000)
    result: dict[str, Curve] = {}
    for index, name in enumerate(panel.instruments):
        middle = (bid[:, index] + ask[:, index]) / 2.0
        rows = [(t, float(m)) for t, m in zip(panel.time_ns, middle, strict=True) if math.isfinite(m)][::stride]
        result[name] = Curve([_stamp(int(t)) for t, _ in rows], [m for _, m in rows])
    return result


def _stamp(time_ns: int) -> str:
    return f"{to_datetime(int(time_ns)):%Y-%m-%dT%H:%M:%S}Z"


def _day(time_ns: int) -> str:
    return f"{to_datetime(int(time_ns)):%Y-%m-%d}"
