"""What is compared, and by which rules: the section ``online`` of ``params.yaml`` and the trader's own sizing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from core.errors import BadInputError
from core.params import required, section
from serving.release.policy import Alphas, ReleasePolicy
from trading.risk.limits import RiskParameters
from trading.strategy.decide import PortfolioLimits
from trading.strategy.sizing import SizingParameters
from training.statistics.sequential.mean import Cutting


class OnlineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section ``online``; its defaults are those of the repository's ``params.yaml``, argued there."""

    block_steps: int = 5
    gain_bound: float = 4.0
    loss_bound: float = 6.0
    warm_blocks: int = 5
    scale_half_life: float = 20.0
    confidence: float = 0.9

    @property
    def cutting(self) -> Cutting:
        """Where blocks are cut."""
        return Cutting(
            gain=self.gain_bound, loss=self.loss_bound, warm=self.warm_blocks, half_life=self.scale_half_life
        )

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "OnlineSettings":
        """Build from a whole ``params.yaml``.

        Raises:
            BadInputError: a value is unknown, of the wrong type or out of range.
        """
        settings = section(params, "online", cls)
        if settings.block_steps < 1:
            raise BadInputError(f"online parameters: a block needs at least 1 step, not {settings.block_steps}")
        if not 0 < settings.confidence < 1:
            raise BadInputError(f"online parameters: confidence must be in (0, 1), not {settings.confidence}")
        settings.cutting.check()
        return settings


@dataclass(frozen=True)
class OnlineRules:
    """How outcomes are made of decisions, and at which levels they are tested.

    Attributes:
        sizing: of the trader.
        limits: of the trader's portfolio.
        outcomes_known: whether the class that came true can be told from the prices at decisions: fixed horizons only.
        alphas: levels of the tests.
        settings: blocks and bounds.
    """

    sizing: SizingParameters
    limits: PortfolioLimits
    outcomes_known: bool
    alphas: Alphas
    settings: OnlineSettings

    @property
    def block_steps(self) -> int:
        """Decision steps of a block: never fewer than the label looks ahead, as positions stand for that long."""
        return max(self.settings.block_steps, self.sizing.horizon)

    @classmethod
    def from_params(
        cls, params: Mapping[str, Any], alphas: Alphas | None = None, online: Mapping[str, Any] | None = None
    ) -> "OnlineRules":
        """Build from a whole ``params.yaml``, as the trader builds its own.

        ``alphas`` and ``online`` are those of an open release: blocks cut anew would be
        other tests. None: those of ``params``.

        Raises:
            BadInputError: a section is missing or wrong.
        """
        risk = RiskParameters.from_params(dict(params))
        return cls(
            sizing=SizingParameters.from_params(params),
            limits=PortfolioLimits(
                risk.maximum_order_units, risk.maximum_gross_leverage, risk.maximum_currency_leverage
            ),
            outcomes_known=required(params, "labels").get("kind", "fixed_horizon") == "fixed_horizon",
            alphas=alphas or ReleasePolicy.read(params).alpha,
            settings=OnlineSettings.from_params({"online": online} if online else params),
        )


@dataclass(frozen=True)
class Comparison:
    """Two versions of a strategy over the decisions since a moment.

    Attributes:
        strategy: as the trader's decisions name it.
        champion: digest of the model that is compared with.
        challenger: digest of the other one.
        since_ns: UTC nanoseconds; the tests look at decisions from then on: the whole release.
        step_since_ns: counts look at decisions from then on: the release's present step. None: the same.
    """

    strategy: str
    champion: str
    challenger: str
    since_ns: int
    step_since_ns: int | None = None
