"""Bets on the mean of blocks and on calibration: by hand, against their definition, and on bad input."""

import itertools
import math

import numpy as np
import pytest

from core.errors import BadInputError
from training.statistics.sequential.calibration import SHIFTS, SLOPES, calibration_process, spaced
from training.statistics.sequential.kernel import SHARES, log_wealth, predictable_scales, stream_wealth
from training.statistics.sequential.mean import Cutting, confidence_sequence, e_process, truncation_bias


def test_scales_know_only_the_past() -> None:
    blocks = np.array([1.0, -3.0, 2.0, 0.0, 100.0, 1.0])
    scales = predictable_scales(blocks, 2, 1.0)
    factor = math.sqrt(math.pi / 2.0)
    assert scales[:2].tolist() == [0.0, 0.0]
    assert scales[2] == pytest.approx(factor * 2.0)  # both means of 1 and 3
    assert scales[3] == pytest.approx(factor * 2.0)
    # The forgetting mean fell to 1, the plain one of all blocks stands at 1.5.
    assert scales[4] == pytest.approx(factor * 1.5)
    changed = blocks.copy()
    changed[4] = -7.0
    assert np.array_equal(predictable_scales(changed, 2, 1.0)[:5], scales[:5])


def test_wealth_is_the_mean_over_shares_of_the_product_of_payments() -> None:
    blocks, scales = np.array([0.5, 3.0, -9.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.5])
    payments = [0.0, 2.0 / 3.0, -1.0, 2.0 / 3.0]  # cut at +2 and -3 scales, in units of the largest loss
    wealth = np.ones(len(SHARES))
    for payment, log in zip(payments, log_wealth(blocks, scales, 0.0, 2.0, 3.0, SHARES), strict=True):
        wealth *= 1.0 + SHARES * payment
        assert math.exp(log) == pytest.approx(wealth.mean())


def test_many_streams_are_each_their_own() -> None:
    streams = np.random.default_rng(1).standard_t(3, size=(5, 80)) + 0.2
    cutting = Cutting()
    together = stream_wealth(streams, cutting.warm, cutting.half_life, cutting.gain, cutting.loss, SHARES)
    for row, stream in zip(together, streams, strict=True):
        assert np.array_equal(row, e_process(stream, cutting).logs)


def test_no_evidence_before_the_first_bet_and_none_from_nothing() -> None:
    for blocks in (np.zeros(0), np.ones(5), np.zeros(40)):
        process = e_process(blocks, Cutting())
        assert (process.value, process.largest, process.rejected_at(0.05)) == (1.0, 1.0, None)
        assert confidence_sequence(blocks, Cutting(), 0.9) == (-math.inf, math.inf)


def test_the_bounds_leave_out_zero_exactly_when_the_test_of_that_level_ended() -> None:
    generator = np.random.default_rng(5)
    seen = set()
    for number in range(40):
        blocks = generator.standard_t(4, size=120) + (0.5 if number % 2 else -0.05)
        low, high = confidence_sequence(blocks, Cutting(), 0.9)
        ended = e_process(blocks, Cutting()).rejected_at(0.05) is not None
        assert (low > 0) == ended
        assert (high < 0) == (e_process(-blocks, Cutting()).rejected_at(0.05) is not None)
        assert low < blocks.mean() < high
        seen.add(ended)
    assert seen == {True, False}


def test_bounds_only_ever_get_narrower() -> None:
    blocks = np.random.default_rng(6).standard_t(3, size=200) + 0.1
    lows, highs = zip(*(confidence_sequence(blocks[:n], Cutting(), 0.9) for n in (6, 20, 50, 200)), strict=True)
    assert list(lows) == sorted(lows)
    assert list(highs) == sorted(highs, reverse=True)


def test_tests_and_bounds_have_no_unit() -> None:
    blocks = np.random.default_rng(7).standard_t(4, size=100) + 0.3
    assert np.allclose(e_process(blocks * 1e-5, Cutting()).logs, e_process(blocks, Cutting()).logs)
    low, high = confidence_sequence(blocks, Cutting(), 0.9)
    assert confidence_sequence(blocks * 1e-5, Cutting(), 0.9) == (pytest.approx(low * 1e-5), pytest.approx(high * 1e-5))


def test_one_absurd_gain_proves_nothing() -> None:
    quiet = np.random.default_rng(8).normal(size=60)
    struck = quiet.copy()
    struck[40] = 1e9
    # At most (1 + 0.8 * gain / loss) for one block, however large it was.
    assert e_process(struck, Cutting()).largest <= 2.0 * max(e_process(quiet[:40], Cutting()).largest, 1.0)


def test_the_bias_of_the_cut_is_bounded_for_the_worst_law() -> None:
    cutting = Cutting()
    limit = truncation_bias(1.0, cutting)
    for size in (6.5, 12.0, 30.0):  # the worst law for a cut at c has its loss at 2 c: there the bound is met
        probability = 1.0 / size**2
        assert probability * (size - cutting.loss) <= limit + 1e-12
    assert pytest.approx(limit) == (1.0 / 144.0) * 6.0


@pytest.mark.parametrize(
    "wrong", [{"gain": 0.0}, {"gain": 7.0}, {"warm": 0}, {"half_life": 0.0}], ids=lambda wrong: next(iter(wrong))
)
def test_cuts_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInputError):
        Cutting(**wrong).check()  # type: ignore[arg-type]


def test_calibration_bets_pay_the_likelihood_ratio_averaged_over_instruments() -> None:
    said = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
    outcomes, times = np.array([2, 0, 1]), np.array([4, 4, 9])
    wealth = []
    for slope, short, long in itertools.product(SLOPES, SHIFTS, SHIFTS):
        if (slope, short, long) == (1.0, 0.0, 0.0):
            continue
        paid = []
        for row, outcome in zip(said, outcomes, strict=True):
            law = [p**slope * math.exp(shift) for p, shift in zip(row, (short, 0.0, long), strict=True)]
            paid.append(law[outcome] / sum(law) / row[outcome])
        wealth.append([(paid[0] + paid[1]) / 2.0, (paid[0] + paid[1]) / 2.0 * paid[2]])
    expected = np.log(np.mean(wealth, axis=0))
    assert np.allclose(calibration_process(said, outcomes, times).logs, expected)


def test_each_calibration_bet_is_fair_whatever_the_forecast() -> None:
    for said, least in (([0.2, 0.5, 0.3], 1.0 - 1e-6), ([0.98, 0.01, 0.01], 1.0 - 1e-6), ([1.0, 0.0, 0.0], 0.9)):
        row = np.array([said])
        values = [math.exp(calibration_process(row, np.array([k]), np.array([0])).logs[0]) for k in range(3)]
        # What is impossible pays for nothing in the mean: there the bet is worse than fair.
        assert least <= sum(p * value for p, value in zip(said, values, strict=True)) <= 1.0 + 1e-9


def test_a_forecast_that_never_comes_true_is_found_soon() -> None:
    said = np.tile([0.05, 0.05, 0.9], (40, 1))
    process = calibration_process(said, np.zeros(40, np.int64), np.arange(40))
    found = process.rejected_at(0.01)
    assert found is not None
    assert found < 6
    assert math.isfinite(process.value)


def test_outcomes_that_overlap_are_left_out() -> None:
    steps = np.array([0, 0, 1, 2, 2, 3, 7, 8])
    assert spaced(steps, 1).all()
    assert steps[spaced(steps, 3)].tolist() == [0, 0, 3, 7]
    assert spaced(np.zeros(0, np.int64), 3).tolist() == []
