"""What a backtest is run with: the account and its sizes, the costs, and how orders are executed."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError
from core.params import section
from trading.strategy.rules.order import FIXED, VOLATILITY


class Sizing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How large a position of full weight is.

    Attributes:
        kind: ``fixed`` units, or as much as has a yearly ``volatility`` of ``target_volatility`` of equity.
        units: of the base currency, for ``fixed``.
        target_volatility: a year, per instrument.
        maximum_leverage: of equity, per instrument.
        steps_per_year: bars; 6,240 hours of five days a week.
        rebalance_threshold: a position on the right side moves when its size is off by this share of the size wanted.
        decay: weight of the past in the variance of a bar's return (RiskMetrics: 0.94).
    """

    kind: Literal["fixed", "volatility"] = "fixed"
    units: float = 100_000.0
    target_volatility: float = 0.08
    maximum_leverage: float = 1.0
    steps_per_year: float = 6240.0
    rebalance_threshold: float = 0.25
    decay: float = 0.94

    def columns(self) -> NDArray[np.float64]:
        """Return what the compiled sizing reads, float64 [7].

        Raises:
            BadInputError: a value out of range.
        """
        for name in ("units", "target_volatility", "maximum_leverage", "steps_per_year"):
            if not getattr(self, name) > 0:
                raise BadInputError(f"sizing: {name} must be above 0, not {getattr(self, name)}")
        if not self.rebalance_threshold >= 0 or not 0 < self.decay < 1:
            raise BadInputError("sizing: rebalance_threshold must not be negative, and decay lie between 0 and 1")
        kind = FIXED if self.kind == "fixed" else VOLATILITY
        return np.array(
            [
                float(kind),
                self.units,
                self.target_volatility,
                self.maximum_leverage,
                self.steps_per_year,
                self.rebalance_threshold,
                self.decay,
            ]
        )


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The account, as ``trading.matching.book.AccountConfiguration`` has it.

    Attributes:
        balance: in the market's account currency.
        margin_rate: at least this share of the notional; an instrument's own may be higher.
        liquidity: units each side of a quote is good for; a larger order is refused.
        sizing: of positions.
    """

    balance: Decimal = Decimal(100_000)
    margin_rate: Decimal = Decimal("0.02")
    liquidity: Decimal = Decimal(10_000_000)
    sizing: Sizing = Sizing()

    def check(self) -> None:
        """Refuse an account that cannot trade.

        Raises:
            BadInputError: naming the value.
        """
        if not 0 < self.balance < Decimal(10) ** 13:
            raise BadInputError(f"account: the balance must be above 0 and below 10^13, not {self.balance}")
        if not 0 < self.margin_rate <= 1:
            raise BadInputError(f"account: margin_rate must be in (0, 1], not {self.margin_rate}")
        if not self.liquidity > 0:
            raise BadInputError(f"account: liquidity must be above 0, not {self.liquidity}")


class Costs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Costs beyond the quoted (or modelled) spread.

    Attributes:
        slippage_pips: per side, on what trades at the market: entries, exits by signal and stops; not on limits.
        commission_per_million: account currency, per side.
        spread_multiple: of the spread at which fills happen; signals see the market as it is. For cost stress.
        financing: whether positions held over 17:00 New York are charged.
        financing_rates: annual rates (long, short) by instrument, else ``default_financing_rate`` for both.
    """

    slippage_pips: float = 0.0
    commission_per_million: float = 0.0
    spread_multiple: float = 1.0
    financing: bool = False
    financing_rates: dict[str, tuple[float, float]] = {}
    default_financing_rate: float = -0.01

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> "Costs":
        """Build from a whole ``params.yaml``, section ``costs``.

        Raises:
            BadInputError: a value is of the wrong type or out of range, or a name is unknown.
        """
        costs = section(params, "costs", cls, {"half_spread_pips"})
        costs.check()
        return costs

    def check(self) -> None:
        """Refuse costs that are none.

        Raises:
            BadInputError: naming the value.
        """
        for name in ("slippage_pips", "commission_per_million", "spread_multiple"):
            if not 0 <= getattr(self, name) < 1e6:
                raise BadInputError(f"costs: {name} must be a number of at least 0, not {getattr(self, name)}")
        for rates in (*self.financing_rates.values(), (self.default_financing_rate,)):
            if not all(-10 < rate < 10 for rate in rates):
                raise BadInputError(f"costs: financing rates are annual shares such as -0.01, not {rates}")


class Execution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is taken for granted where bars do not say it.

    Attributes:
        fill: at which quote a decision trades: the first one after the bar (``open`` of the next), or the ``close`` it
            was made on, as a loop does whose heartbeat closes the bar. Fixings have one price: always ``close``.
        path: which extreme of a bar comes first: ``against`` the position (pessimistic), ``high``, ``low``, or by the
            ``direction`` of the bar (a rising one went down first).
    """

    fill: Literal["open", "close"] = "open"
    path: Literal["against", "high", "low", "direction"] = "against"


PATHS = {"direction": 0, "high": 1, "low": 2, "against": 3}
