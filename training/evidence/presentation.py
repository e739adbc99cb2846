"""How the gate's rules are shown to people: a title, the unit of the figure, and by how much the limit was kept."""

import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from serving.release.evidence import Rule, Verdict

Sense = Literal["least", "most"]
_INDENT = " " * 29  # below the title of a rule
Form = Callable[[float], str]


def _percent(digits: int) -> Form:
    return lambda value: f"{value:.{digits}%}"


def _fixed(digits: int, unit: str = "") -> Form:
    return lambda value: f"{value:,.{digits}f}{unit}"


@dataclass(frozen=True)
class Shown:
    """How one rule is shown.

    ``sense`` says whether the limit is the least or the most that is allowed; ``scale`` is the distance from the limit
    at which a bar is full, in the unit of the figure, or in decades where ``decades``; None: the limit itself.
    """

    title: str
    sense: Sense
    form: Form
    scale: float | None = None
    decades: bool = False


RULES: dict[str, Shown] = {
    "beats_climatology": Shown("Skill, lower bound", "least", _percent(2), 0.01),
    "direction_skill": Shown("Skill for the direction", "least", _percent(2), 0.01),
    "beats_baselines": Shown("Log loss below the best baseline", "least", _fixed(5), 0.01),
    "profit_after_cost": Shown("Net return a year, lower bound", "least", _percent(2), 0.05),
    "calibration": Shown("Calibration error", "most", _fixed(3)),
    "fold_stability": Shown("Folds with skill", "least", _percent(0), 1.0),
    "deflated_sharpe": Shown("Deflated Sharpe ratio", "least", _percent(1), 1.0),
    "superior_to_flat": Shown("Superiority, p-value", "most", _percent(1), 1.0),
    "overfitting": Shown("Backtest overfitting (PBO)", "most", _percent(1), 1.0),
    "loss_out_of_sample": Shown("Loss where it was not chosen", "most", _percent(1), 1.0),
    "cost_stress": Shown("Net return at a multiple of the cost", "least", _percent(2), 0.05),
    "capacity": Shown("Capacity", "least", _fixed(0), 2.0, decades=True),
    "turnover": Shown("Turnover a year", "most", _fixed(1)),
    "regimes": Shown("Regimes that earn money", "least", _percent(0), 1.0),
    "drift_at_cutoff": Shown("Features that moved", "most", _percent(0), 1.0),
    "leak_checks": Shown("Leak checks that failed", "most", _fixed(0), 1.0),
    "complete_ledger": Shown("Faults of the trial ledger", "most", _fixed(0), 1.0),
    "ledger_now": Shown("Faults of the ledger today", "most", _fixed(0), 1.0),
    "champion": Shown("No worse than the champion, p-value", "least", _percent(1), 1.0),
    "onnx_parity": Shown("Difference of the exported graph", "most", lambda value: f"{value:.1e}", 4.0, decades=True),
    "model_size": Shown("Size of the model", "most", _fixed(2, " MB")),
    "latency": Shown("Time of a prediction", "most", _fixed(3, " ms")),
}


def title_of(rule: Rule) -> str:
    """Return a rule's title; of a rule that is not known here its name."""
    shown = RULES.get(rule.rule)
    return shown.title if shown else rule.rule.replace("_", " ")


def figure_of(rule: Rule, value: float | None) -> str:
    """Return a figure of a rule in its unit; a dash where there is none."""
    if value is None:
        return "–"
    shown = RULES.get(rule.rule)
    return shown.form(value) if shown else f"{value:.5g}"


def limit_of(rule: Rule) -> str:
    """Return a rule's limit with its sense."""
    if rule.limit is None:
        return "–"
    shown = RULES.get(rule.rule)
    sign = {"least": "≥ ", "most": "≤ "}[shown.sense] if shown else ""
    return sign + figure_of(rule, rule.limit)


def margin_of(rule: Rule) -> str:
    """Return by how much a rule was kept or broken, in its unit; empty where that cannot be said."""
    shown, distance = RULES.get(rule.rule), _distance(rule)
    if shown is None or distance is None or (distance >= 0.0) != rule.passed:
        # A rule of several conditions may fail, or pass, in spite of the one figure that is shown.
        return ""
    if distance == 0.0:
        return "as it must be" if rule.value == 0.0 and shown.sense == "most" else "at the limit"
    return f"{shown.form(abs(distance))} {'to spare' if rule.passed else 'short' if shown.sense == 'least' else 'over'}"


def bar_of(rule: Rule) -> float | None:
    """Return the length of a rule's bar in [-1, 1], its side being the verdict; None where there is no figure."""
    shown, distance = RULES.get(rule.rule), _distance(rule)
    if shown is None or distance is None or rule.value is None or rule.limit is None:
        return None
    if shown.decades and rule.value > 0.0 and rule.limit > 0.0:
        length = abs(math.log10(rule.value / rule.limit)) / (shown.scale or 1.0)
    else:
        scale = shown.scale if shown.scale is not None and not shown.decades else abs(rule.limit)
        length = abs(distance) / scale if scale > 0.0 else 1.0
    return math.copysign(min(max(length, 0.02), 1.0), 1.0 if rule.passed else -1.0)


def verdict_lines(what: str, verdict: Verdict, width: int = 112) -> list[str]:
    """Return a verdict for a terminal: broken rules first, each with its figure, its limit and a sentence.

    A rule that was kept is one line; where its figure alone does not say why, its sentence follows.
    """
    failed = [rule for rule in verdict.rules if not rule.passed]
    total = len(verdict.rules)
    said = f"refused, {len(failed)} of {total} rules broken" if failed else f"passed, all {total} rules kept"
    lines = [f"{what}: {said}"]
    for rule in sorted(verdict.rules, key=lambda one: one.passed):
        margin = margin_of(rule)
        figures = f"{figure_of(rule, rule.value)} ({limit_of(rule)}{f', {margin}' if margin else ''})"
        lines.append(f"  {'passed' if rule.passed else 'FAILED'}  {rule.rule:<18} {title_of(rule)}: {figures}")
        if not rule.passed or not margin:
            lines += textwrap.wrap(rule.words, width, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return lines


def _distance(rule: Rule) -> float | None:
    """Return the distance from the limit, above 0 on the good side."""
    shown = RULES.get(rule.rule)
    if shown is None or rule.value is None or rule.limit is None:
        return None
    return rule.value - rule.limit if shown.sense == "least" else rule.limit - rule.value
