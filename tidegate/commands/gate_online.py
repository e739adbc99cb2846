"""The online half of ``tidegate gate simulate``: how often the anytime-valid tests are wrong, and how fast they are."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.commands.border import say

if TYPE_CHECKING:
    from training.simulation.online import OnlineOptions, OnlineSimulation
    from training.simulation.run import Rate


def run_online(options: "OnlineOptions", params: dict[str, Any], folder: Path) -> tuple["OnlineSimulation", Path]:
    """Simulate, write the page under ``folder`` and return the result and the page.

    Raises:
        BadInputError: options or parameters that say nothing.
    """
    from serving.release.policy import ReleasePolicy
    from training.online import OnlineSettings
    from training.simulation.online import simulate_online
    from training.simulation.online_report import write_online_report

    settings, alphas = OnlineSettings.from_params(params), ReleasePolicy.read(params).alpha
    result = simulate_online(options, settings, alphas, lambda line: say(f"online gate: {line}"))
    return result, write_online_report(folder / f"online-{result.digest[:16]}", result)


def online_lines(result: "OnlineSimulation", page: Path) -> list[str]:
    """Return what a person reads of a simulation."""
    options = result.options
    lines = [
        f"online gate: {options.days} days of {options.decisions_per_day} decisions, looked at every day; blocks of "
        f"{result.settings.block_steps} decisions, seed {options.seed}",
        f"without a difference, promoted: {_shown(result.false_promotion)}",
        f"  by a t-test looked at daily: {_shown(result.naive_promotion)}",
        f"without a difference, demoted: {_shown(result.false_demotion)}",
        f"  by a t-test looked at daily: {_shown(result.naive_demotion)}",
    ]
    for family in result.families:
        inside = "breaks an assumption, not counted above" if family.stress else "counted above"
        lines.append(
            f"  {family.name} ({inside}): promoted {family.false_promotion.value:.1%}, demoted "
            f"{family.false_demotion.value:.1%}, t-test {family.naive_promotion.value:.1%}"
        )
    for item in result.power:
        when = f", half of them within {item.median_decisions:.0f} decisions" if item.median_decisions else ""
        lines.append(
            f"planted {item.effect:g} deviations a block (information ratio {item.yearly:.1f} a year): promoted "
            f"{item.promoted.value:.1%}{when}; as much worse, demoted {item.demoted.value:.1%}"
        )
    lines.append(
        f"calibration: false alarms {_shown(result.calibration.false_alarms)}, forecasts twice too sure found "
        f"{result.calibration.found.value:.1%}"
    )
    lines.extend(
        f"{'held' if target.held else 'NOT HELD'}: {target.what} {target.limit:.0%}, measured {target.value:.1%}"
        for target in result.targets
    )
    return [*lines, f"page: {page}"]


def _shown(rate: "Rate") -> str:
    return f"{rate.count} of {rate.of}, {rate.value:.1%} (95 % interval {rate.low:.1%} to {rate.high:.1%})"
