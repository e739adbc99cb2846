"""The page of a release: what its template shows, from the release ledger and the comparison."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.clock import to_datetime
from serving.release.findings import Findings
from serving.release.machine import missing
from serving.release.policy import ReleasePolicy
from serving.release.states import Release, ReleaseState, TransitionRecord
from training.online.page import charts
from training.online.page.charts import Phase
from training.online.series import ComparisonSeries
from training.pages import page_environment

_GOOD, _BAD = {ReleaseState.CHAMPION}, {ReleaseState.ROLLED_BACK, ReleaseState.REJECTED, ReleaseState.EXPIRED}


@dataclass(frozen=True)
class Chapter:
    """One release with everything that is known of it.

    Attributes:
        release: as it stands.
        history: its transitions, oldest first.
        policy: by which it goes.
        findings: the newest; None before any decision was compared.
        series: how the comparison went; None likewise.
        confidence: of the bounds.
    """

    release: Release
    history: Sequence[TransitionRecord]
    policy: ReleasePolicy
    findings: Findings | None
    series: ComparisonSeries | None
    confidence: float


def release_page(chapter: Chapter) -> str:
    """Return the page as HTML that needs nothing else."""
    release, findings, series = chapter.release, chapter.findings, chapter.series
    phases = _phases(chapter)
    alphas = chapter.policy.alpha
    thresholds = {"benefit": 1 / alphas.benefit, "harm": 1 / alphas.harm, "calibration": 1 / alphas.calibration}
    drawn = dict.fromkeys(("money", "evidence", "bounds"), "")
    if series is not None:
        drawn = {
            "money": charts.money(series, phases),
            "evidence": charts.evidence(series, phases, thresholds) if len(series.block_times) else "",
            "bounds": charts.bounds(series, phases, chapter.confidence),
        }
    tone = "good" if release.state in _GOOD else "bad" if release.state in _BAD else ""
    return (
        page_environment("training.online.page")
        .get_template("release.html")
        .render(
            release=release,
            tone=tone,
            banner=_banner(chapter),
            waits=missing(release, chapter.policy, findings),
            cards=_cards(release, findings, series, chapter.confidence),
            moments=[_moment(record) for record in chapter.history],
            arms=_arms(chapter),
            charts=drawn,
            confidence=chapter.confidence,
        )
    )


def _banner(chapter: Chapter) -> str:
    release = chapter.release
    last = chapter.history[-1]
    return f"Version {release.version} is {release.words} since {_when(release.entered_ns)}: {last.reason}"


def _phases(chapter: Chapter) -> list[Phase]:
    """Return the stays in scored states, by market time: transitions between them say when the next step began."""
    begun = [record for record in chapter.history if record.after in (ReleaseState.SHADOW, ReleaseState.CANARY)]
    found: list[Phase] = []
    for number, record in enumerate(begun):
        start = record.market_ns
        end = begun[number + 1].market_ns if number + 1 < len(begun) else 0
        words = str(record.after)
        if record.after is ReleaseState.CANARY:
            shares = chapter.policy.canary
            words = f"canary {shares[record.step].share:.0%}" if record.step < len(shares) else "hand-over"
        found.append(Phase(str(record.after), words, start, end))
    return found


def _cards(
    release: Release, findings: Findings | None, series: ComparisonSeries | None, confidence: float
) -> list[dict[str, str]]:
    if findings is None:
        return []
    bounds = findings.difference
    cards = [
        {
            "value": f"{findings.decisions:,}",
            "title": "paired decisions of this step" if release.open else "paired decisions",
            "more": f"{findings.pending} open",
        },
        {
            "value": f"{bounds.mean * 1e4:+.2f} bp",
            "title": "challenger minus champion, a block",
            "more": f"{_basis(bounds.low)} to {_basis(bounds.high)} at {confidence:.0%}",
        },
    ]
    for test in findings.tests:
        cards.append(
            {
                "value": f"{test.largest_e_value:.3g}",
                "title": f"e-value of {test.name}",
                "more": f"{'reached' if test.rejected else 'of'} {test.threshold:.3g}, now {test.e_value:.3g}",
            }
        )
    if series is not None:
        cards.append(
            {
                "value": f"{series.challenger[-1] - series.champion[-1]:+.2%}",
                "title": "net return, challenger minus champion",
                "more": f"account {series.account[-1]:+.2%}",
            }
        )
    return cards


def _basis(value: float) -> str:
    return f"{value * 1e4:+.2f} bp" if math.isfinite(value) and abs(value) < 1.0 else "unbounded"


def _moment(record: TransitionRecord) -> dict[str, str]:
    words = f"{record.after} step {record.step + 1}" if record.after is ReleaseState.CANARY else str(record.after)
    return {
        "time": _when(record.time_ns),
        "before": record.before or "begins",
        "after": words,
        "cause": str(record.cause),
        "actor": record.actor,
        "reason": record.reason,
        "sequence": str(record.sequence),
        "hash": record.hash[:12],
        "tone": "good" if record.after in _GOOD else "bad" if record.after in _BAD else "",
    }


def _arms(chapter: Chapter) -> list[dict[str, Any]]:
    """Return the figures of both versions in each step that ended, and in the present one."""
    rows: list[dict[str, Any]] = []
    for record in chapter.history:
        found = record.figures.get("findings")
        if found:
            step = record.before if record.before != "canary" else f"canary, until {record.after}"
            rows += [_arm(step, arm) for arm in found["arms"]]
    if chapter.findings is not None and chapter.release.open:
        rows += [_arm(f"{chapter.release.words} (now)", _plain(arm)) for arm in chapter.findings.arms]
    return rows


def _plain(arm: Any) -> dict[str, Any]:
    import msgspec

    return msgspec.to_builtins(arm)


def _arm(step: str, arm: dict[str, Any]) -> dict[str, Any]:
    loss = arm["log_loss"]
    return {
        "step": step,
        "arm": arm["arm"],
        "version": arm["model_version"],
        "decisions": f"{arm['decisions']:,}",
        "traded": f"{arm['traded']:,}",
        "net": f"{arm['net_return']:+.3%}",
        "cost": f"{arm['cost']:.3%}",
        "loss": "–" if loss is None else f"{loss:.4f}",
    }


def _when(time_ns: int) -> str:
    return f"{to_datetime(time_ns):%Y-%m-%d %H:%M:%S} UTC"
