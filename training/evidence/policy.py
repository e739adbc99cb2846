"""The gate's policy: the ``gate`` section of ``params.yaml``, one limit a rule."""

from collections.abc import Mapping
from typing import Any

import msgspec

from core.errors import BadInputError
from core.params import section
from training.leaks import LeakLimits


class GatePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The limits a candidate must keep. ``params.yaml`` argues each default; a null switches its rule off.

    Shares and probabilities are in [0, 1], returns are fractions of equity a year.
    """

    # Evidence of an edge, deflated by everything that was tried.
    minimum_deflated_sharpe: float | None = 0.95
    maximum_superiority_p: float | None = 0.05
    maximum_overfitting: float | None = 0.5
    maximum_loss_probability: float | None = 0.25
    # Forecasts.
    minimum_skill: float | None = 0.0
    minimum_direction_skill: float | None = 0.0
    beat_baselines: bool = True
    maximum_calibration_error: float | None = 0.05
    minimum_stable_folds: float | None = 0.6
    # Money.
    minimum_net_return: float | None = 0.0
    stress_multiple: float | None = 2.0
    minimum_capacity: float | None = 1_000_000.0
    maximum_turnover: float | None = None
    minimum_good_regimes: float | None = 0.5
    # The data and the model as they stand.
    maximum_drift_share: float | None = 0.5
    maximum_parity: float | None = 1e-4
    maximum_model_megabytes: float | None = 64.0
    maximum_latency_milliseconds: float | None = 5.0
    # The record.
    leak_checks: bool = True
    leaks: LeakLimits = LeakLimits()
    complete_ledger: bool = True
    champion_p: float | None = 0.05

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "GatePolicy":
        """Build from a whole ``params.yaml``.

        Raises:
            BadInputError: a limit is unknown, of the wrong type or out of range.
        """
        policy = section(params, "gate", cls)
        for name in _SHARES:
            value = getattr(policy, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise BadInputError(f"gate parameters: {name} must be in [0, 1] or null, not {value}")
        if policy.stress_multiple is not None and not policy.stress_multiple >= 1.0:
            raise BadInputError(f"gate parameters: stress_multiple must be at least 1, not {policy.stress_multiple}")
        policy.leaks.check()
        return policy


_SHARES = (
    "minimum_deflated_sharpe",
    "maximum_superiority_p",
    "maximum_overfitting",
    "maximum_loss_probability",
    "maximum_calibration_error",
    "minimum_stable_folds",
    "minimum_good_regimes",
    "maximum_drift_share",
    "champion_p",
)
