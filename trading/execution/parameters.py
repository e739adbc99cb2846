"""Parameters of order execution: the section ``execution`` of ``params.yaml``."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from core.domain import TimeInForce
from core.errors import BadInputError
from core.params import section
from trading.execution.plan import Algorithm


class ChildStyle(StrEnum):
    """How one part of a plan goes to the market."""

    MARKETABLE = "marketable"  # a market order with a price bound
    PASSIVE = "passive"  # a limit order at the near touch, moved with it, crossed when its slice ends


class Remainder(StrEnum):
    """What happens to the part that is not executed when the time limit comes."""

    CANCEL = "cancel"
    CROSS = "cross"  # one market order for all of it, within the price limit


class ExecutionParameters(msgspec.Struct, frozen=True):
    """How decisions are worked off; the defaults are those of ``params.yaml``.

    Attributes:
        algorithm: immediate sends each order whole.
        duration_seconds: from the decision to the time limit.
        slices: parts of equal duration (twap, vwap, implementation_shortfall).
        minimum_order_units: smaller orders are sent whole.
        minimum_child_units: smallest part that is sent alone; smaller ones join the next.
        child_style: marketable or passive.
        time_in_force: of marketable children: FOK, or IOC which takes a part.
        price_bound_pips: worst fill of a marketable child, behind the touch.
        price_limit_pips: worst quoted price of the whole plan, behind the touch at its start; 0 sets none.
        maximum_participation: share of the market's volume since the last child that a child may be; 0 sets no limit.
        units_per_tick: market volume that one tick stands for. Quotes carry no volume: this is an assumption, and it
            only counts where maximum_participation is set.
        reprice_pips: a passive child follows the touch when it moved by more than this.
        retry_seconds: pause after a child that was refused or found no counterpart.
        maximum_failures: refused children in a row that end a plan.
        remainder: cancel or cross at the time limit.
        volume_profile: file of the tick-volume profile (vwap), relative to the workspace.
        temporary_impact_pips: price concession while trading a million units a minute.
        permanent_impact_pips: lasting move of the price by a million units.
        risk_aversion: of implementation shortfall, per unit of the quote currency.
    """

    algorithm: Algorithm = Algorithm.IMMEDIATE
    duration_seconds: float = 300.0
    slices: int = 10
    minimum_order_units: float = 10_000.0
    minimum_child_units: float = 1_000.0
    child_style: ChildStyle = ChildStyle.MARKETABLE
    time_in_force: TimeInForce = TimeInForce.FOK
    price_bound_pips: float = 2.0
    price_limit_pips: float = 0.0
    maximum_participation: float = 0.0
    units_per_tick: float = 100_000.0
    reprice_pips: float = 0.5
    retry_seconds: float = 5.0
    maximum_failures: int = 5
    remainder: Remainder = Remainder.CANCEL
    volume_profile: str = "data/processed/volume_profile.json"
    temporary_impact_pips: float = 0.2
    permanent_impact_pips: float = 0.02
    risk_aversion: float = 1e-5

    @classmethod
    def from_params(cls, params: Mapping[str, Any], workspace: Path | None = None) -> "ExecutionParameters":
        """Build from a whole ``params.yaml``.

        Args:
            params: its content.
            workspace: folder that a relative ``volume_profile`` is in.

        Raises:
            BadInputError: a value is of the wrong type, out of range, or there is no parameter of that name.
        """
        parameters = section(params, "execution", cls)
        parameters.check()
        if workspace is not None and parameters.algorithm is Algorithm.VWAP:  # else it is not read
            parameters = msgspec.structs.replace(parameters, volume_profile=str(workspace / parameters.volume_profile))
        return parameters

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            BadInputError: naming the parameter.
        """
        above = ("duration_seconds", "slices", "units_per_tick", "retry_seconds", "maximum_failures")
        for name in above:
            if not getattr(self, name) > 0:
                raise BadInputError(f"execution parameter {name} must be above 0, not {getattr(self, name)}")
        not_below = (
            "minimum_order_units",
            "minimum_child_units",
            "price_bound_pips",
            "price_limit_pips",
            "reprice_pips",
            "temporary_impact_pips",
            "permanent_impact_pips",
            "risk_aversion",
        )
        for name in not_below:
            if not getattr(self, name) >= 0:
                raise BadInputError(f"execution parameter {name} must not be negative, not {getattr(self, name)}")
        if not 0 <= self.maximum_participation <= 1:
            words = f"not {self.maximum_participation}"
            raise BadInputError(f"execution parameter maximum_participation must be between 0 and 1, {words}")
        if self.time_in_force not in (TimeInForce.FOK, TimeInForce.IOC):
            raise BadInputError(f"execution parameter time_in_force must be FOK or IOC, not {self.time_in_force.value}")
        interval_minutes = self.duration_seconds / self.slices / 60.0
        enough = self.temporary_impact_pips > 0.5 * self.permanent_impact_pips * interval_minutes
        if self.algorithm is Algorithm.IMPLEMENTATION_SHORTFALL and not enough:
            raise BadInputError(
                f"implementation_shortfall needs a temporary_impact_pips above half the permanent impact of one slice, "
                f"not {self.temporary_impact_pips}: use more slices, or correct the impact"
            )
