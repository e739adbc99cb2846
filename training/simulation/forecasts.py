"""How often the calibration test is wrong, and what it finds: forecasts whose meaning is known."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from training.simulation.run import Rate, rate
from training.statistics.sequential.calibration import calibration_process

Array = NDArray[np.float64]
_INSTRUMENTS = 3  # at each time; their outcomes share half of their luck
_SURE = 0.5  # of the planted: outcomes follow the forecast to this power, so that it is twice as sure as it should be


class CalibrationRates(msgspec.Struct, frozen=True, kw_only=True):
    """Forecasts that mean what they say, and forecasts twice as sure (in log-odds) as they should be."""

    false_alarms: Rate
    found: Rate
    median_times: float | None  # until it was found


def simulate_calibration(streams: int, times: int, alpha: float, seed: int) -> CalibrationRates:
    """Test calibrated and over-sure forecasts at every time.

    Args:
        streams: of each kind.
        times: decision times of a stream, each with the forecasts of three instruments.
        alpha: level of the test.
        seed: of all draws.
    """
    ended: dict[float, list[float]] = {1.0: [], _SURE: []}
    for slope, ends in ended.items():
        for number in range(streams):
            generator = np.random.default_rng([seed, 100 + int(slope == 1.0), number])
            said, outcomes, at = _forecasts(times, slope, generator)
            found = calibration_process(said, outcomes, at).rejected_at(alpha)
            ends.append(np.inf if found is None else found + 1.0)
    true, wrong = (np.array(ends) for ends in (ended[1.0], ended[_SURE]))
    alarms, caught = (rate(int(np.isfinite(ends).sum()), streams) for ends in (true, wrong))
    assert alarms is not None
    assert caught is not None
    when = wrong[np.isfinite(wrong)]
    return CalibrationRates(
        false_alarms=alarms, found=caught, median_times=float(np.median(when)) if len(when) else None
    )


def _forecasts(
    times: int, slope: float, generator: np.random.Generator
) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Return forecasts [R, 3], outcomes [R] drawn from the forecast to the power ``slope``, and times [R]."""
    scores = generator.normal(scale=0.6, size=(times * _INSTRUMENTS, 3))
    said = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    law = said**slope
    law /= law.sum(axis=1, keepdims=True)
    common = np.repeat(generator.random(times), _INSTRUMENTS)
    luck = np.where(generator.random(len(said)) < 0.5, common, generator.random(len(said)))
    outcomes = (luck[:, None] > np.cumsum(law, axis=1)[:, :2]).sum(axis=1)
    return said, outcomes.astype(np.int64), np.repeat(np.arange(times), _INSTRUMENTS)
