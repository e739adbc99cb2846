"""The drift verdict: per feature and for the whole window, with a false-alarm rate that is stated and held."""

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.errors import BadInputError
from monitoring.drift.statistics import bin_codes, calibrate, population_stability_index, shares


class FeatureDrift(msgspec.Struct, frozen=True):
    """One feature: its index in the live window, the alarm threshold and the rank among historical windows."""

    feature: str
    index: float  # population stability index of the live window against the training window
    threshold: float
    rank: float  # share of historical windows with an index at least as large (a p-value by ranking)
    drifted: bool


class DriftAssessment(msgspec.Struct, frozen=True):
    """The verdict on one live window."""

    drifted: bool
    share_drifted: float
    share_threshold: float
    rank: float  # share of historical windows in which at least as many features drifted
    false_alarm_rate: float
    historical_windows: int
    reference_rows: int
    live_rows: int
    live_steps: int
    features: list[FeatureDrift]

    @property
    def words(self) -> str:
        """The verdict in one sentence."""
        count = sum(feature.drifted for feature in self.features)
        verdict = "drift" if self.drifted else "no drift"
        return (
            f"{verdict}: {count} of {len(self.features)} features moved "
            f"({self.share_drifted:.0%}; alarm above {self.share_threshold:.0%}); "
            f"{self.rank:.0%} of {self.historical_windows} historical windows moved at least as much"
        )


def _matrix(frame: pd.DataFrame, columns: list[str]) -> NDArray[np.float64]:
    return frame[columns].to_numpy(dtype=np.float64)


def assess(
    reference: pd.DataFrame,
    live: pd.DataFrame,
    columns: list[str],
    false_alarm_rate: float = 0.05,
    minimum_share: float = 0.3,
) -> DriftAssessment:
    """Compare a live window with the training window.

    Args:
        reference: training rows with ``event_timestamp`` and the feature columns, in time order.
        live: live rows of the same shape.
        columns: features to compare.
        false_alarm_rate: how often a window without any change may raise the alarm.
        minimum_share: share of features that must move before the window as a whole counts as drifted, however rare
            such a share was in history.

    Raises:
        BadInputError: a frame is empty, lacks a feature, or the history is shorter than two live windows.
    """
    for name, frame in (("training", reference), ("live", live)):
        missing = [column for column in ["event_timestamp", *columns] if column not in frame.columns]
        if missing or frame.empty:
            what = f"lacks the columns {', '.join(missing[:5])}" if missing else "has no rows"
            raise BadInputError(f"drift: the {name} window {what}; rebuild it with the feature set of the model")
    reference = reference.sort_values("event_timestamp", kind="stable")
    steps = np.unique(reference["event_timestamp"].to_numpy(), return_inverse=True)[1].astype(np.int64)
    live_steps = int(live["event_timestamp"].nunique())
    try:
        calibration = calibrate(_matrix(reference, columns), steps, live_steps)
    except ValueError as error:
        raise BadInputError(f"drift: {error}; give a longer training window or a shorter live one") from None
    live_shares = shares(bin_codes(_matrix(live, columns), calibration.edges))
    index = population_stability_index(calibration.reference_shares, live_shares)
    thresholds = calibration.thresholds(false_alarm_rate)
    windows = calibration.historical.shape[0]
    ranks = (1 + (calibration.historical >= index).sum(axis=0)) / (1 + windows)
    moved = index > thresholds
    historical_shares = (calibration.historical > thresholds).mean(axis=1)
    share = float(moved.mean())
    share_threshold = max(minimum_share, float(np.quantile(historical_shares, 1.0 - false_alarm_rate)))
    return DriftAssessment(
        drifted=share > share_threshold,
        share_drifted=share,
        share_threshold=share_threshold,
        rank=float((1 + (historical_shares >= share).sum()) / (1 + windows)),
        false_alarm_rate=false_alarm_rate,
        historical_windows=windows,
        reference_rows=len(reference),
        live_rows=len(live),
        live_steps=live_steps,
        features=[
            FeatureDrift(column, float(index[i]), float(thresholds[i]), float(ranks[i]), bool(moved[i]))
            for i, column in enumerate(columns)
        ],
    )
