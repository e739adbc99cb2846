"""What the registry says about a version's evidence: tags with the headline figures, and a text for the reviewer."""

import math
from typing import Any

from core.clock import to_datetime
from serving.release.attached import (
    BUNDLE_FILE,
    EVIDENCE_DIGEST_TAG,
    EVIDENCE_FOLDER,
    PAGE_FILE,
    VERDICT_TAG,
    verdict_word,
)
from serving.release.evidence import Evidence, Rule
from training.evidence.bundle import Bundle
from training.evidence.presentation import figure_of, limit_of, margin_of, title_of

LONGEST_DESCRIPTION = 4_900  # characters: the registry's column holds 5,000


def version_tags(bundle: Bundle, evidence: Evidence) -> dict[str, str]:
    """Return the tags ``gate.…`` of a version: verdict, headline figures with intervals, and each rule."""
    rules, result, search = evidence.verdict.rules, bundle.result, bundle.search
    strategy = result["strategy"]
    tags = {
        VERDICT_TAG: verdict_word(evidence),
        "gate.failed_rules": ", ".join(rule.rule for rule in rules if not rule.passed) or "none",
        "gate.skill": _interval(result["skill"], "+.3%"),
        "gate.direction_skill": _interval(result["direction_skill"], "+.3%"),
        "gate.sharpe_after_cost": _interval(strategy["sharpe"], "+.2f"),
        "gate.net_return_a_year": _interval(strategy["net_return_a_year"], "+.2%"),
        "gate.evidence_digest": evidence.digest,
        "gate.bundle_digest": str(evidence.bundle_digest),
    }
    if search is not None:
        tags["gate.deflated_sharpe"] = f"{search.deflated:.4f}"
        tags["gate.overfitting"] = "–" if search.overfitting is None else f"{search.overfitting:.4f}"
        tags["gate.effective_trials"] = f"{search.effective:.1f}"
    if bundle.record is not None:
        tags["gate.trials"] = str(bundle.record.trials)
    if bundle.calibration is not None:
        one = bundle.calibration
        tags["gate.calibration_error"] = f"{one.error:.4f} ({one.low:.4f} to {one.high:.4f})"
    return tags | {f"gate.rule.{rule.rule}": "passed" if rule.passed else "failed" for rule in rules}


def version_description(bundle: Bundle, evidence: Evidence, version: str, experiment_id: str, run_id: str) -> str:
    """Return the version's description in Markdown: verdict, rules, links, and what the reviewer does next.

    Links are relative to the MLflow page that shows it, whatever its address. A text that would be too long for the
    registry loses sentences about broken rules, never the table.
    """
    rules = sorted(evidence.verdict.rules, key=lambda rule: rule.passed)
    failed = [rule for rule in rules if not rule.passed]
    head = (
        f"## The offline gate passed it: all {len(rules)} rules kept"
        if not failed
        else f"## The offline gate refused it: {len(failed)} of {len(rules)} rules broken"
    )
    run = f"#/experiments/{experiment_id}/runs/{run_id}"
    files = f"{run}/artifacts/{EVIDENCE_FOLDER}"
    before = [head, _summary(bundle), _links(run, files), _table(rules)]
    after = [_next(version, bool(failed)), f"Evidence `{evidence.digest}`, tag `{EVIDENCE_DIGEST_TAG}`."]
    free = LONGEST_DESCRIPTION - sum(len(part) + 2 for part in (*before, *after))
    return "\n\n".join([*before, *_broken(failed, free), *after])


def _summary(bundle: Bundle) -> str:
    strategy, search = bundle.result["strategy"], bundle.search
    said = (
        f"**{bundle.candidate}** on **{bundle.market}**, data up to {to_datetime(bundle.cutoff_ns):%Y-%m-%d}. On "
        f"unseen data and after cost: Sharpe ratio **{_interval(strategy['sharpe'], '+.2f')}**, "
        f"{_interval(strategy['net_return_a_year'], '+.2%')} a year, skill {_interval(bundle.result['skill'], '+.2%')}."
    )
    if search is not None:
        luck = search.luck * math.sqrt(search.steps_per_year)
        said += (
            f" {search.trials:,} trials were counted; the best of so many without skill would show {luck:+.2f}, and it "
            f"is better than that with {search.deflated:.1%}."
        )
    return said


def _links(run: str, files: str) -> str:
    return (
        f"[**Evidence with charts**]({files}/{PAGE_FILE}) · [all figures]({files}/{BUNDLE_FILE}) · "
        f"[package]({run}/artifacts/package) · [run]({run})"
    )


def _table(rules: list[Rule]) -> str:
    rows = [
        f"| {'✓' if rule.passed else '✗'} | {title_of(rule)} | {figure_of(rule, rule.value)} | {limit_of(rule)} "
        f"| {margin_of(rule)} |"
        for rule in rules
    ]
    return "\n".join(["| | rule | value | limit | by how much |", "|---|---|---|---|---|", *rows])


def _broken(failed: list[Rule], free: int) -> list[str]:
    """Return the sentences of broken rules as far as there is room for them."""
    if not failed:
        return []
    title, more = "### What was broken", "- … the others are on the evidence page."
    lines, room = list[str](), free - len(title) - len(more) - 5
    for rule in failed:
        line = f"- **{title_of(rule)}**: {rule.words}"
        if len(line) + 1 > room:
            lines.append(more)
            break
        lines.append(line)
        room -= len(line) + 1
    return ["\n".join([title, "", *lines])]


def _next(version: str, failed: bool) -> str:
    scope = "It can be approved for `paper` only." if failed else "Passing is a recommendation: the decision is yours."
    return (
        f"### What to do next\n\n{scope} Read the evidence, then set two tags of this version: `approval` to "
        f"`approved` or `rejected`, and `approval_reason` to why. Or say `tidegate approve {version} --reason …`, "
        f"`tidegate reject {version} --reason …`. `tidegate gate offline {version}` judges it again by today's policy."
    )


def _interval(value: dict[str, Any], form: str) -> str:
    return f"{value['value']:{form}} ({value['low']:{form}} to {value['high']:{form}})"
