"""The gate's rules: a bundle and a policy give a verdict, each rule with its value, its limit and a sentence.

A failing rule is recorded, never hidden. A rule whose limit is null is off; a rule whose evidence is missing fails.
"""

from collections.abc import Callable

from serving.release.evidence import Rule, Verdict
from training.evidence.bundle import Bundle
from training.evidence.paths import best_baseline
from training.evidence.policy import GatePolicy
from training.leaks import judge_again

Judge = Callable[[Bundle, GatePolicy], Rule | None]


def judge(bundle: Bundle, policy: GatePolicy, extra: tuple[Rule, ...] = ()) -> Verdict:
    """Judge a candidate.

    Args:
        bundle: the evidence about it.
        policy: the limits.
        extra: rules judged elsewhere, such as those that are measured when the question is asked.
    """
    rules = [rule for make in RULES if (rule := make(bundle, policy)) is not None]
    return Verdict.of(*rules, *extra)


def judge_statistics(bundle: Bundle, policy: GatePolicy) -> Verdict:
    """Judge only what depends on data and search: what a simulated search without an exported model can be asked."""
    return Verdict.of(*(rule for make in STATISTICAL if (rule := make(bundle, policy)) is not None))


def _rule(name: str, passed: bool, value: float | None, limit: float | None, words: str) -> Rule:
    return Rule(rule=name, passed=bool(passed), value=value, limit=limit, words=words)


def _missing(name: str, limit: float | None, what: str) -> Rule:
    return _rule(name, False, None, limit, f"There is no {what}: what was not measured is not passed.")


def _side(passed: bool) -> str:
    return "above" if passed else "not above"


def _beats_reference(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit = policy.minimum_skill
    if limit is None:
        return None
    skill = bundle.result["skill"]
    passed = skill["low"] > limit
    return _rule(
        "beats_climatology", passed, skill["low"], limit,
        f"Skill against {bundle.reference} is {skill['value']:+.3%} (95 % interval {skill['low']:+.3%} to "
        f"{skill['high']:+.3%}); its lower bound is {_side(passed)} {limit:.3%}.",
    )  # fmt: skip


def _direction(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit = policy.minimum_direction_skill
    if limit is None:
        return None
    skill = bundle.result["direction_skill"]
    passed = skill["value"] > limit
    return _rule(
        "direction_skill", passed, skill["value"], limit,
        f"On the direction alone the skill is {skill['value']:+.3%} ({skill['low']:+.3%} to {skill['high']:+.3%}): "
        f"{_side(passed)} {limit:.3%}.",
    )  # fmt: skip


def _beats_baselines(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    if not policy.beat_baselines:
        return None
    losses = {name: entry["log_loss"] for name, entry in bundle.baselines.items() if entry.get("log_loss") is not None}
    best = min(losses, key=lambda name: (losses[name], name))
    richest = best_baseline(bundle.baselines)
    most = bundle.baselines[richest]["strategy"]["sharpe"]["value"]
    margin = losses[best] - bundle.result["log_loss"]
    sharpe = bundle.result["strategy"]["sharpe"]["value"]
    passed = margin > 0 and sharpe > most
    return _rule(
        "beats_baselines", passed, margin, 0.0,
        f"Log loss {bundle.result['log_loss']:.5f} against {losses[best]:.5f} of the best baseline ({best}); Sharpe "
        f"ratio {sharpe:+.2f} after cost against {most:+.2f} of the best baseline ({richest}): "
        f"{'both' if passed else 'not both'} better.",
    )  # fmt: skip


def _profit(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit = policy.minimum_net_return
    if limit is None:
        return None
    yearly = bundle.result["strategy"]["net_return_a_year"]
    passed = yearly["low"] > limit
    return _rule(
        "profit_after_cost", passed, yearly["low"], limit,
        f"Net return after cost is {yearly['value']:+.2%} a year (95 % interval {yearly['low']:+.2%} to "
        f"{yearly['high']:+.2%}); its lower bound is {_side(passed)} {limit:.2%}.",
    )  # fmt: skip


def _calibration(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit = policy.maximum_calibration_error
    if limit is None:
        return None
    found = bundle.calibration
    if found is None:
        return _plain_calibration(bundle, limit)
    passed = found.error <= limit
    return _rule(
        "calibration", passed, found.error, limit,
        f"Sampling noise taken off, probabilities are off by {found.error:.3f} on average (95 % interval "
        f"{found.low:.3f} to {found.high:.3f}), {'within' if passed else 'above'} the limit of {limit:g}.",
    )  # fmt: skip


def _plain_calibration(bundle: Bundle, limit: float) -> Rule:
    """Judge a bundle of format 1, which holds the error of its bins as it is."""
    error = bundle.result.get("calibration_error") if bundle.format == 1 else None
    if error is None:
        return _missing("calibration", limit, "calibration")
    passed = error <= limit
    return _rule(
        "calibration", passed, error, limit,
        f"Probabilities are off by {error:.3f} on average, {'within' if passed else 'above'} the limit of {limit:g}.",
    )  # fmt: skip


def _stability(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit = policy.minimum_stable_folds
    if limit is None:
        return None
    skills = bundle.result["skill_per_fold"]
    good = sum(skill > 0 for skill in skills)
    return _rule(
        "fold_stability", good / len(skills) >= limit, good / len(skills), limit,
        f"{good} of {len(skills)} folds have positive skill; {limit:.0%} are needed.",
    )  # fmt: skip


def _deflated(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit, search = policy.minimum_deflated_sharpe, bundle.search
    if limit is None:
        return None
    if search is None:
        return _missing("deflated_sharpe", limit, "trial ledger to deflate by")
    year = search.steps_per_year**0.5
    passed = search.deflated >= limit
    return _rule(
        "deflated_sharpe", passed, search.deflated, limit,
        f"Sharpe ratio {search.sharpe * year:+.2f} a year; the best of {search.trials} trials (worth "
        f"{search.effective:.1f} independent ones) without skill would show {search.luck * year:+.2f}. The "
        f"probability of being better than that luck is {search.deflated:.1%}; {limit:.0%} are needed.",
    )  # fmt: skip


def _superiority(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit, search = policy.maximum_superiority_p, bundle.search
    if limit is None:
        return None
    if search is None:
        return _missing("superior_to_flat", limit, "trial ledger to test against")
    passed = search.superiority <= limit
    return _rule(
        "superior_to_flat", passed, search.superiority, limit,
        f"If no trial of the search were better than never trading, its best would look this good with a probability "
        f"of {search.superiority:.1%} (Hansen's test over {search.series} series); at most {limit:.0%} is allowed.",
    )  # fmt: skip


def _overfitting(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit, search = policy.maximum_overfitting, bundle.search
    if limit is None:
        return None
    if search is None:
        return _missing("overfitting", limit, "trial ledger to split")
    if search.overfitting is None or search.out_of_sample_sharpe is None:
        return _rule("overfitting", True, None, limit, "A single trial that moves cannot be chosen among others.")
    # Among trials that are alike and good the rank is a matter of luck, and harmless: the chosen one is still good.
    good = search.out_of_sample_sharpe > search.luck
    year = search.steps_per_year**0.5
    return _rule(
        "overfitting", search.overfitting <= limit or good, search.overfitting, limit,
        f"The trial that is best in one half of the time is below the median of the other half in "
        f"{search.overfitting:.1%} of {search.splits:,} splits, {limit:.0%} are allowed; there it shows a Sharpe ratio "
        f"of {search.out_of_sample_sharpe * year:+.2f} (median), {'more' if good else 'not more'} than luck.",
    )  # fmt: skip


def _loss(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit, search = policy.maximum_loss_probability, bundle.search
    if limit is None:
        return None
    if search is None:
        return _missing("loss_out_of_sample", limit, "trial ledger to split")
    if search.loss_probability is None:
        return _rule("loss_out_of_sample", True, None, limit, "A single trial cannot be chosen among others.")
    passed = search.loss_probability <= limit
    return _rule(
        "loss_out_of_sample", passed, search.loss_probability, limit,
        f"Chosen in one half of the time, the best trial loses money in the other in {search.loss_probability:.1%} of "
        f"the splits; at most {limit:.0%} is allowed.",
    )  # fmt: skip


def _stress(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    multiple = policy.stress_multiple
    if multiple is None:
        return None
    found = next((stress for stress in bundle.stress if stress.multiple == multiple), None)
    if found is None:
        return _missing("cost_stress", 0.0, f"result at {multiple:g} times the cost")
    passed = found.net_return > 0
    return _rule(
        "cost_stress", passed, found.net_return, 0.0,
        f"At {multiple:g} times the cost the same decisions earn {found.net_return:+.2%} a year "
        f"({found.net_return_low:+.2%} to {found.net_return_high:+.2%}): {_side(passed)} zero.",
    )  # fmt: skip


def _capacity(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit = policy.minimum_capacity
    if limit is None:
        return None
    equity = bundle.capacity.equity
    passed = equity is not None and equity >= limit
    said = "It earns nothing that impact could take" if equity is None else f"Impact takes half of it at {equity:,.0f}"
    return _rule("capacity", passed, equity, limit, f"{said}; an equity of {limit:,.0f} must be carried.")


def _turnover(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit = policy.maximum_turnover
    if limit is None:
        return None
    turnover = bundle.capacity.turnover
    return _rule(
        "turnover", turnover <= limit, turnover, limit,
        f"It trades {turnover:.1f} times the equity a year; at most {limit:g} are allowed.",
    )  # fmt: skip


def _regimes(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit = policy.minimum_good_regimes
    if limit is None:
        return None
    good = [regime for regime in bundle.regimes if regime.net_return > 0]
    worst = min(bundle.regimes, key=lambda regime: (regime.net_return, regime.name))
    share = len(good) / len(bundle.regimes)
    return _rule(
        "regimes", share >= limit, share, limit,
        f"{len(good)} of {len(bundle.regimes)} regimes earn money after cost, {limit:.0%} are needed; the worst is the "
        f"{worst.name} with {worst.net_return:+.2%} a year.",
    )  # fmt: skip


def _drift(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit = policy.maximum_drift_share
    if limit is None:
        return None
    drift = bundle.drift
    allowed = max(limit, drift.typical)
    passed = drift.share <= allowed
    most = ", ".join(shift.feature for shift in drift.moved[:3])
    return _rule(
        "drift_at_cutoff", passed, drift.share, allowed,
        f"In the last {drift.window_steps} decision times {drift.share:.0%} of {drift.features} features moved more "
        f"than in 95 % of their history{f' (most: {most})' if most else ''}; at most {allowed:.0%} is allowed.",
    )  # fmt: skip


def _leaks(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    if not policy.leak_checks:
        return None
    if bundle.leaks is None:
        return _missing("leak_checks", None, "leak check")
    rules = judge_again(bundle.leaks, policy.leaks)
    failed, total = [check for check in rules if not check.passed], len(rules)
    said = (
        "; ".join(f"{check.name}: {check.words}" for check in failed)
        if failed
        else f"None of {total} checks found anything from the future in {len(bundle.leaks.features)} features."
    )
    return _rule("leak_checks", not failed, float(len(failed)), 0.0, said)


def _ledger(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    if not policy.complete_ledger:
        return None
    record = bundle.record
    if record is None:
        return _missing("complete_ledger", None, "trial ledger")
    gaps = len(record.gaps)
    said = (
        f"The ledger of lineage {record.lineage} is whole: {record.trials} trials, none missing or changed."
        if not gaps
        else f"The ledger of lineage {record.lineage} has {gaps} fault{'s' if gaps > 1 else ''}: {record.gaps[0]}"
    )
    return _rule("complete_ledger", not gaps, float(gaps), 0.0, said)


def _champion(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit, champion = policy.champion_p, bundle.champion
    if limit is None or champion is None:
        # No champion is the first model's case: a note of the bundle says so.
        return None
    passed = champion.p_worse >= limit
    return _rule(
        "champion", passed, champion.p_worse, limit,
        f"Log loss less the champion's (version {champion.version}) is {champion.difference:+.5f} ({champion.low:+.5f} "
        f"to {champion.high:+.5f}) over {champion.steps} decision times; were it no worse, a difference like this has "
        f"a probability of {champion.p_worse:.1%}, and {limit:.0%} is the least.",
    )  # fmt: skip


def _parity(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit = policy.maximum_parity
    if limit is None:
        return None
    if bundle.model is None:
        return _missing("onnx_parity", limit, "exported model")
    return _rule(
        "onnx_parity", bundle.model.parity <= limit, bundle.model.parity, limit,
        f"The exported graph differs from the fitted model by at most {bundle.model.parity:.1e} on real rows; "
        f"{limit:g} is allowed.",
    )  # fmt: skip


def _size(bundle: Bundle, policy: GatePolicy) -> Rule | None:
    limit = policy.maximum_model_megabytes
    if limit is None:
        return None
    if bundle.model is None:
        return _missing("model_size", limit, "exported model")
    return _rule(
        "model_size", bundle.model.megabytes <= limit, bundle.model.megabytes, limit,
        f"The model takes {bundle.model.megabytes:.2f} MB; at most {limit:g} are allowed.",
    )  # fmt: skip


STATISTICAL: tuple[Judge, ...] = (
    _beats_reference,
    _direction,
    _beats_baselines,
    _profit,
    _calibration,
    _stability,
    _deflated,
    _superiority,
    _overfitting,
    _loss,
    _stress,
    _capacity,
    _turnover,
    _regimes,
    _drift,
    _leaks,
    _ledger,
)
RULES: tuple[Judge, ...] = (*STATISTICAL, _champion, _parity, _size)
