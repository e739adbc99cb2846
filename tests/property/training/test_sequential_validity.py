"""Evidence against a true null stays small, on any law that satisfies it, however often one looks."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.statistics.sequential.calibration import calibration_process
from training.statistics.sequential.kernel import SHARES, log_wealth, predictable_scales, stream_wealth
from training.statistics.sequential.mean import Cutting, confidence_sequence

finite = st.floats(-1e6, 1e6, allow_nan=False)


@settings(max_examples=60)
@given(st.lists(finite, min_size=3, max_size=40), st.floats(0.01, 5.0), st.floats(0.05, 0.95))
def test_a_fair_block_pays_one_on_average(past: list[float], size: float, probability: float) -> None:
    """For two-valued blocks of mean zero within the cut, the mean of the next wealth is the wealth."""
    cutting = Cutting(warm=2)
    blocks = np.array([*past, 0.0])
    scale = predictable_scales(blocks, cutting.warm, cutting.half_life)[-1]
    if not scale > 1e-9:
        return
    # Gains and losses inside the cut, weighed so that the mean is exactly zero.
    gain = min(size, cutting.gain) * scale
    loss = gain * probability / (1.0 - probability)
    if loss > cutting.loss * scale:
        return
    wealth = []
    for value in (gain, -loss):
        blocks[-1] = value
        scales = predictable_scales(blocks, cutting.warm, cutting.half_life)
        wealth.append(np.exp(log_wealth(blocks, scales, 0.0, cutting.gain, cutting.loss, SHARES)))
    before = wealth[0][-2]
    after = probability * wealth[0][-1] + (1.0 - probability) * wealth[1][-1]
    assert after <= before * (1.0 + 1e-9)
    assert after >= before * (1.0 - 1e-9)


@settings(max_examples=40)
@given(st.lists(finite, min_size=8, max_size=60), st.floats(-10.0, 10.0), st.floats(0.0, 10.0))
def test_wealth_falls_as_the_mean_that_is_bet_against_rises(blocks: list[float], mean: float, more: float) -> None:
    values, cutting = np.array(blocks), Cutting()
    scales = predictable_scales(values, cutting.warm, cutting.half_life)
    low, high = (log_wealth(values, scales, at, cutting.gain, cutting.loss, SHARES) for at in (mean, mean + more))
    assert np.all(high <= low + 1e-9)
    assert np.all(np.isfinite(low))


@settings(max_examples=25)
@given(st.lists(finite, min_size=1, max_size=60))
def test_bounds_are_ordered_whatever_comes(blocks: list[float]) -> None:
    low, high = confidence_sequence(np.array(blocks), Cutting(), 0.9)
    assert low < high


def test_symmetric_heavy_tails_are_rarely_called_better() -> None:
    """A thousand streams of Student-t blocks with two degrees of freedom (no variance), looked at after every block."""
    streams = np.random.default_rng(11).standard_t(2, size=(1000, 250))
    cutting = Cutting()
    for signed in (streams, -streams):
        logs = stream_wealth(signed, cutting.warm, cutting.half_life, cutting.gain, cutting.loss, SHARES)
        assert np.count_nonzero(logs.max(axis=1) >= np.log(20.0)) <= 50


def test_calibrated_forecasts_are_rarely_called_wrong_though_instruments_share_their_luck() -> None:
    generator = np.random.default_rng(12)
    alarms = 0
    for _ in range(200):
        said = np.repeat(generator.dirichlet([2.0, 2.0, 2.0], size=100), 4, axis=0)
        luck = np.repeat(generator.random(100), 4)  # one outcome for all four
        outcomes = (luck[:, None] > np.cumsum(said, axis=1)[:, :2]).sum(axis=1)
        process = calibration_process(said, outcomes.astype(np.int64), np.repeat(np.arange(100), 4))
        alarms += process.rejected_at(0.05) is not None
    assert alarms <= 16  # of 200 at 5 %: more than that has a probability of 3 %
