"""Decisions as the ledger may hold them: late outcomes, missing bars, weekends, arms that failed, nobody at all."""

import math
from decimal import Decimal

import numpy as np
import pytest

from core.errors import BadInputError
from core.params import read_params
from serving.release.policy import Alphas, ReleasePolicy
from trading.strategy.decide import PortfolioLimits
from trading.strategy.sizing import SizingParameters
from training.online import Comparison, OnlineRules, OnlineSettings
from training.online.counterfactual import CounterfactualPath
from training.online.decisions import Answer, DecisionStep, InstrumentStep
from training.online.findings import found
from training.online.outcomes import FLAT, LONG, SHORT, outcome_classes

DAY = 86_400_000_000_000
UP, DOWN = (0.05, 0.1, 0.85), (0.85, 0.1, 0.05)
CHAMPION, CHALLENGER = "c" * 64, "d" * 64
WHOM = Comparison("s", CHAMPION, CHALLENGER, 0)
LIMITS = PortfolioLimits(1e9, 100.0, 100.0)


def rules(horizon: int = 1, known: bool = True, **settings: float) -> OnlineRules:
    sizing = SizingParameters(horizon=horizon, stop_loss_volatilities=0.0)
    chosen = OnlineSettings(**({"block_steps": 2, "warm_blocks": 1} | settings))  # type: ignore[arg-type]
    return OnlineRules(sizing, LIMITS, known, Alphas(), chosen)


def seen(mid: float, champion: object = UP, challenger: object = DOWN, **changes: object) -> InstrumentStep:
    answers = {}
    if champion is not None:
        answers[CHAMPION] = Answer(champion, "1", True)  # type: ignore[arg-type]
    if challenger is not None:
        answers[CHALLENGER] = Answer(challenger, "2", False)  # type: ignore[arg-type]
    values: dict[str, object] = {
        "scored": True, "volatility": 0.005, "cost": 0.0002, "base_rate": mid, "quote_rate": 1.0,
    }  # fmt: skip
    return InstrumentStep(mid, Decimal(0), answers, **(values | changes))  # type: ignore[arg-type]


def steps_of(*instruments: dict[str, InstrumentStep], gaps: tuple[int, ...] = ()) -> list[DecisionStep]:
    times = np.cumsum([gap * DAY for gap in (gaps or (1,) * len(instruments))])
    return [DecisionStep(int(time_ns), dict(one), 100_000.0) for time_ns, one in zip(times, instruments, strict=True)]


def path_of(*mids: float) -> list[DecisionStep]:
    return steps_of(*({"EUR_USD": seen(mid)} for mid in mids))


def test_a_return_is_the_move_of_the_units_less_half_a_round_trip() -> None:
    steps = path_of(1.1, 1.11, 1.09)
    path = CounterfactualPath("s", (CHAMPION,), rules().sizing, LIMITS)
    path.mark(steps[0], steps[1].instruments, path.decide(steps[0]))
    units = float(path.units["EUR_USD"])
    assert units > 10_000
    cost = units * 1.1 * 0.0002 / 2.0 / 100_000.0
    assert path.costs == [pytest.approx(cost)]
    assert path.returns == [pytest.approx(units * 0.01 / 100_000.0 - cost)]


def test_money_of_a_pair_in_another_currency_is_converted() -> None:
    steps = steps_of(*({"USD_JPY": seen(mid, base_rate=1.0, quote_rate=1.0 / mid)} for mid in (150.0, 151.0)))
    path = CounterfactualPath("s", (CHAMPION,), rules().sizing, LIMITS)
    paid = path.decide(steps[0])
    path.mark(steps[0], steps[1].instruments, paid)
    units = float(path.units["USD_JPY"])
    assert path.returns[0] + paid == pytest.approx(units * 1.0 / 151.0 / 100_000.0)


def test_an_arm_that_failed_does_what_the_other_one_said() -> None:
    both = path_of(1.1, 1.1)
    failed = steps_of({"EUR_USD": seen(1.1, challenger=None)}, {"EUR_USD": seen(1.1)})
    path = CounterfactualPath("s", (CHALLENGER, CHAMPION), rules().sizing, LIMITS)
    path.decide(failed[0])
    assert path.units["EUR_USD"] > 0  # the champion's long
    path = CounterfactualPath("s", (CHALLENGER, CHAMPION), rules().sizing, LIMITS)
    path.decide(both[0])
    assert path.units["EUR_USD"] < 0


def test_what_might_only_be_lowered_live_is_only_lowered_here() -> None:
    steps = steps_of({"EUR_USD": seen(1.1, exits_only=True)}, {"EUR_USD": seen(1.1)})
    path = CounterfactualPath("s", (CHAMPION,), rules().sizing, LIMITS)
    assert path.decide(steps[0]) == 0.0
    assert path.units["EUR_USD"] == 0


def test_a_decision_counts_when_its_outcome_is_known_and_not_before() -> None:
    steps = path_of(*np.linspace(1.1, 1.2, 9).tolist())
    for horizon, known in ((1, 8), (3, 6)):
        findings = found(steps, WHOM, rules(horizon))
        assert findings.blocks == 8 // max(horizon, 2)  # never shorter than a horizon
        assert (findings.decisions, findings.pending) == (known, 9 - known)
        calibration = findings.test("calibration")
        assert calibration is not None
        assert calibration.observations == math.ceil(known / horizon)  # outcomes that do not overlap
    assert found(steps[:1], WHOM, rules()).decisions == 0


def test_classes_follow_the_instruments_own_bars_over_weekends_and_gaps() -> None:
    gone = InstrumentStep(1.5, Decimal(0))  # a quote stands, but nobody was asked: no bar
    steps = steps_of(
        {"EUR_USD": seen(1.1), "USD_CHF": seen(0.9)},
        {"EUR_USD": gone, "USD_CHF": seen(0.9001)},
        {"EUR_USD": seen(1.12), "USD_CHF": seen(0.89)},
        {"EUR_USD": seen(1.1), "USD_CHF": seen(0.89)},
        gaps=(1, 1, 3, 1),  # Friday to Monday
    )
    classes = outcome_classes(steps, rules().sizing)
    assert classes == {
        (0, "EUR_USD"): LONG,  # the next bar of its own is on Monday
        (2, "EUR_USD"): SHORT,
        (0, "USD_CHF"): FLAT,  # the move does not pay the cost
        (1, "USD_CHF"): SHORT,
        (2, "USD_CHF"): FLAT,
    }
    # While nobody answers at all the bars are there: the outcome of the step before is the next step's.
    away = steps_of({"EUR_USD": seen(1.1)}, {"EUR_USD": InstrumentStep(1.12, Decimal(0))}, {"EUR_USD": seen(1.1)})
    assert outcome_classes(away, rules().sizing) == {(0, "EUR_USD"): LONG}


def test_a_step_that_nobody_compared_moves_nothing_and_books_nothing() -> None:
    steps = path_of(1.1, 1.11, 1.12, 1.13, 1.14, 1.15)
    steps[2] = DecisionStep(steps[2].time_ns, {"EUR_USD": InstrumentStep(1.12, Decimal(0))})
    findings = found(steps, WHOM, rules())
    assert findings.decisions == 4
    assert findings.blocks == 2
    champion = CounterfactualPath("s", (CHAMPION,), rules().sizing, LIMITS)
    for at in (0, 1, 3, 4):
        champion.mark(steps[at], steps[at + 1].instruments, champion.decide(steps[at]))
    assert findings.arms[0].net_return == pytest.approx(sum(champion.returns))


def test_both_begin_with_what_the_account_held_when_both_were_first_heard() -> None:
    steps = path_of(1.1, 1.11, 1.12)
    steps[0].instruments["EUR_USD"].answers.pop(CHALLENGER)
    for step in steps:
        step.instruments["EUR_USD"].current_units = Decimal(50_000)
    findings = found(steps, WHOM, rules())
    champion, challenger = findings.arms
    assert findings.decisions == 1
    # The challenger turns the position around and pays for both ways; the champion only adds to it.
    assert challenger.cost > champion.cost > 0
    assert champion.net_return > 0 > challenger.net_return


def test_a_better_challenger_is_found_and_a_worse_one_stopped() -> None:
    generator = np.random.default_rng(3)
    mid, steps = 1.1, []
    for number in range(240):
        move = generator.standard_t(4) * 0.004
        rising = (move > 0) == (generator.random() < 0.75)
        knows = (0.01, 0.04, 0.95) if rising else (0.95, 0.04, 0.01)
        steps.append(DecisionStep(number * DAY + 1, {"EUR_USD": seen(mid, UP if number % 4 < 2 else DOWN, knows)}, 1e5))
        mid *= math.exp(move)
    findings = found(steps, WHOM, rules(warm_blocks=5))
    benefit, harm = findings.test("benefit"), findings.test("harm")
    assert benefit is not None
    assert harm is not None
    assert benefit.rejected
    assert not harm.rejected
    assert findings.difference.low > 0
    turned = found(steps, Comparison("s", CHALLENGER, CHAMPION, 0), rules(warm_blocks=5))
    assert turned.test("harm").rejected  # type: ignore[union-attr]
    # Forecasts of 95 % that come true in 75 % are called what they are.
    assert findings.test("calibration").rejected  # type: ignore[union-attr]


def test_classes_that_prices_at_decisions_cannot_tell_are_not_guessed() -> None:
    findings = found(path_of(1.1, 1.11, 1.12), WHOM, rules(known=False))
    assert findings.test("calibration").observations == 0  # type: ignore[union-attr]
    assert [arm.log_loss for arm in findings.arms] == [None, None]
    assert findings.decisions == 2


def test_the_section_of_the_repository_is_read_and_wrong_values_are_refused() -> None:
    params = read_params()
    given = OnlineRules.from_params(params)
    assert given.settings == OnlineSettings()
    assert given.outcomes_known
    assert not OnlineRules.from_params(params | {"labels": {"kind": "triple_barrier"}}).outcomes_known
    for wrong in ({"block_steps": 0}, {"confidence": 1.0}, {"gain_bound": 9.0}, {"bets": "all"}, {"warm_blocks": "x"}):
        with pytest.raises(BadInputError, match=r"online|cut|block"):
            OnlineRules.from_params(params | {"online": wrong})


def test_a_release_keeps_the_blocks_it_was_opened_with() -> None:
    params = read_params()
    opened = ReleasePolicy.of(ReleasePolicy.read(params).document())
    changed = params | {"online": {"block_steps": 50}}
    assert OnlineRules.from_params(changed, opened.alpha, opened.online).settings == OnlineSettings()
    assert OnlineRules.from_params(changed).settings.block_steps == 50
    with pytest.raises(BadInputError, match="section of its own"):
        ReleasePolicy.read(params | {"release": {"online": {"block_steps": 1}}})
