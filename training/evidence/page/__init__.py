"""``bundle.html``: the verdict and the evidence behind it on one page that needs nothing else."""

from pathlib import Path
from typing import Any

import msgspec

from core.digest import digest_bytes
from core.files import write_bytes
from serving.release.evidence import Rule, Verdict
from training.evidence.bundle import Bundle
from training.evidence.page.content import (
    SCORES,
    capacity_rows,
    cards,
    fields,
    number,
    rows_of_scores,
    search_rows,
    trial_rows,
)
from training.evidence.policy import GatePolicy
from training.evidence.presentation import bar_of, figure_of, limit_of, margin_of, title_of
from training.leaks import judge_again


def write_page(path: Path, bundle: Bundle, verdict: Verdict, policy: GatePolicy) -> str:
    """Write the page and return its digest; the same evidence, verdict and policy give the same bytes."""
    content = page(bundle, verdict, policy).encode()
    write_bytes(path, content)
    return digest_bytes(content)


def page(bundle: Bundle, verdict: Verdict, policy: GatePolicy) -> str:
    """Return the page; every figure is one of the bundle or the verdict."""
    from training.pages import page_environment

    environment = page_environment("training.evidence.page")
    environment.filters["number"] = number
    return environment.get_template("report.html").render(
        bundle=bundle,
        digest=bundle.digest,
        verdict=verdict,
        failed=[rule for rule in verdict.rules if not rule.passed],
        rules=[_shown(rule) for rule in sorted(verdict.rules, key=lambda rule: rule.passed)],
        cards=cards(bundle),
        charts=_charts(bundle),
        scores=rows_of_scores(bundle),
        scores_header=SCORES,
        leaks=judge_again(bundle.leaks, policy.leaks) if bundle.leaks else (),
        search_rows=search_rows(bundle),
        capacity_rows=capacity_rows(bundle),
        trials=trial_rows(bundle),
        fields=fields,
        policy=policy,
    )


def _shown(rule: Rule) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(rule),
        "title": title_of(rule),
        "figure": figure_of(rule, rule.value),
        "bound": limit_of(rule),
        "margin": margin_of(rule),
        "bar": bar_of(rule),
    }


def _charts(bundle: Bundle) -> dict[str, Any]:
    """Return the SVG of each chart; empty where the bundle does not hold what it shows."""
    from training.evidence.page import forecasts, luck, money

    skills = [float(skill) for skill in bundle.result.get("skill_per_fold", ())]
    folds = [f"fold {number + 1}" for number in range(len(skills))]
    regimes, search, found = bundle.regimes, bundle.search, bundle.calibration
    names, classes = [regime.name for regime in regimes], found.classes if found else {}
    regime_skill, regime_money = [one.skill for one in regimes], [one.net_return for one in regimes]
    return {
        "equity": money.equity(bundle.paths) if bundle.paths else "",
        "drawdown": money.drawdown(bundle.paths) if bundle.paths else "",
        "stress": money.stress(bundle.stress) if bundle.stress else "",
        "ratios": luck.ratios(search) if search and search.ratios else "",
        "logits": luck.logits(search) if search else "",
        "reliability": {name: forecasts.reliability(name, one) for name, one in classes.items()},
        "folds": forecasts.bars(folds, skills, "Skill by fold") if skills else "",
        "regime_skill": forecasts.bars(names, regime_skill, "Skill by regime") if regimes else "",
        "regime_money": forecasts.bars(names, regime_money, "Net return by regime") if regimes else "",
        "moved": forecasts.moved(bundle.drift),
    }
