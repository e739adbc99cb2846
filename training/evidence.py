"""The gate's first rules over out-of-sample results, each with its value, its limit and a sentence for the reviewer.

A failing rule is recorded, never hidden: the package of a model that fails carries a verdict that says so.
"""

from typing import Any

from serving.release.evidence import Rule, Verdict
from training.models.graph import PARITY_LIMIT

CALIBRATION_LIMIT = 0.05  # mean distance of said and observed frequency; sampling alone gives about 0.01
STABLE_FOLDS = 0.6  # share of folds with positive skill: one lucky period must not carry a model


def judge(
    result: dict[str, Any], baselines: dict[str, dict[str, Any]], parity: float, reference: str = "climatology"
) -> Verdict:
    """Judge the evaluation of one model against its baselines.

    Args:
        result: the model's entry in ``evaluation.json``.
        baselines: the entries of the baselines, by name.
        parity: largest difference between the exported graph and the fitted model.
        reference: the baseline that skill is measured against.
    """
    return Verdict.of(
        _beats_reference(result, reference),
        _beats_baselines(result, baselines),
        _profit(result),
        _calibration(result),
        _parity(parity),
        _stability(result),
    )


def _beats_reference(result: dict[str, Any], reference: str) -> Rule:
    skill = result["skill"]
    passed = skill["low"] > 0
    return Rule(
        rule="beats_climatology",
        passed=passed,
        value=skill["low"],
        limit=0.0,
        words=f"Skill against {reference} is {skill['value']:+.3%} (95 % interval {skill['low']:+.3%} to "
        f"{skill['high']:+.3%}); its lower bound is {'above' if passed else 'not above'} zero.",
    )


def _beats_baselines(result: dict[str, Any], baselines: dict[str, dict[str, Any]]) -> Rule:
    losses = {name: entry["log_loss"] for name, entry in baselines.items() if entry.get("log_loss") is not None}
    best = min(losses, key=lambda name: (losses[name], name))
    sharpes = {name: entry["strategy"]["sharpe"]["value"] for name, entry in baselines.items()}
    richest = max(sharpes, key=lambda name: (sharpes[name], name))
    margin = losses[best] - result["log_loss"]
    sharpe = result["strategy"]["sharpe"]["value"]
    passed = margin > 0 and sharpe > sharpes[richest]
    return Rule(
        rule="beats_baselines",
        passed=passed,
        value=margin,
        limit=0.0,
        words=f"Log loss {result['log_loss']:.5f} against {losses[best]:.5f} of the best baseline ({best}); Sharpe "
        f"ratio {sharpe:+.2f} after cost against {sharpes[richest]:+.2f} of the best baseline ({richest}): "
        f"{'both' if passed else 'not both'} better.",
    )


def _profit(result: dict[str, Any]) -> Rule:
    yearly = result["strategy"]["net_return_a_year"]
    passed = yearly["low"] > 0
    return Rule(
        rule="profit_after_cost",
        passed=passed,
        value=yearly["low"],
        limit=0.0,
        words=f"Net return after cost is {yearly['value']:+.2%} a year (95 % interval {yearly['low']:+.2%} to "
        f"{yearly['high']:+.2%}); its lower bound is {'above' if passed else 'not above'} zero.",
    )


def _calibration(result: dict[str, Any]) -> Rule:
    error = result["calibration_error"]
    passed = error <= CALIBRATION_LIMIT
    return Rule(
        rule="calibration",
        passed=passed,
        value=error,
        limit=CALIBRATION_LIMIT,
        words=f"Probabilities are off by {error:.3f} on average, {'within' if passed else 'above'} the limit of "
        f"{CALIBRATION_LIMIT:g}.",
    )


def _parity(parity: float) -> Rule:
    passed = parity <= PARITY_LIMIT
    return Rule(
        rule="onnx_parity",
        passed=passed,
        value=parity,
        limit=PARITY_LIMIT,
        words=f"The exported graph differs from the fitted model by at most {parity:.1e} on real rows; "
        f"{PARITY_LIMIT:g} is allowed.",
    )


def _stability(result: dict[str, Any]) -> Rule:
    skills = result["skill_per_fold"]
    share = sum(skill > 0 for skill in skills) / len(skills)
    passed = share >= STABLE_FOLDS
    return Rule(
        rule="fold_stability",
        passed=passed,
        value=share,
        limit=STABLE_FOLDS,
        words=f"{sum(skill > 0 for skill in skills)} of {len(skills)} folds have positive skill; "
        f"{STABLE_FOLDS:.0%} are needed.",
    )
