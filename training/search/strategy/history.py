"""The market of a workspace, cut into the span the search computes on and the one it does not see; the holdout is out.

Nothing after the cut is in the arrays a search gets: what is not there cannot leak.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from core.domain import Panel
from core.errors import BadInputError
from training.backtest import Account, Costs, Market, Sizing
from training.search.strategy.parameters import StrategySearchParameters
from training.search.strategy.windows import LEAST_DAYS, Days, Fold, days_of, folds_of

CATALOG = Path("data/raw/catalog")
_YEAR = 365.25 * 86_400_000_000_000


@dataclass(frozen=True)
class History:
    """Bars before the holdout.

    Attributes:
        panel: all of them, research and unseen span.
        days: of the panel.
        cut: first day of the unseen span.
        folds: walk-forward folds and the final one, in days of the research span.
        account, costs: every backtest of the search is run with.
        currency: of the account.
    """

    panel: Panel
    days: Days
    cut: int
    folds: tuple[Fold, ...]
    account: Account
    costs: Costs
    currency: str
    cost_parameters: Mapping[str, Any]

    @property
    def research(self) -> Panel:
        """The bars of the research span; a search gets no others."""
        return self._part(0, int(self.days.first[self.cut]))

    def market(self, panel: Panel) -> Market:
        """Return bars as the backtester takes them."""
        return Market.from_panel(panel, self.currency, self.cost_parameters)

    def _part(self, first: int, last: int) -> Panel:
        panel, here = self.panel, slice(first, last)
        return Panel(panel.instruments, panel.time_ns[here], panel.arrival_ns[here], panel.values[here], panel.kind)


def load_history(workspace: Path, params: Mapping[str, Any], given: StrategySearchParameters, currency: str) -> History:
    """Load the bars of a workspace before its holdout and lay the windows over them.

    Raises:
        BadInputError: no data, too short a history, or parameters that make no sense.
    """
    from data.holdout import cutoff_ns
    from data.panel import load_panel

    panel = load_panel(workspace / CATALOG, params["data"]["instruments"])
    before = panel.between(int(panel.time_ns[0]), cutoff_ns(panel.time_ns, params["data"]["holdout"]))
    return cut_history(before, params, given, currency)


def cut_history(panel: Panel, params: Mapping[str, Any], given: StrategySearchParameters, currency: str) -> History:
    """Lay the windows over bars that end before the holdout.

    Raises:
        BadInputError: too short a history, or parameters that make no sense.
    """
    days = days_of(panel.time_ns)
    windows = given.windows
    cut = int(len(days) * (1.0 - windows.unseen_share))
    if len(days) - cut < LEAST_DAYS:
        raise BadInputError(
            f"{len(days)} trading days before the holdout leave {len(days) - cut} for the unseen span, at least "
            f"{LEAST_DAYS} are needed: ingest a longer history, or raise search.strategy.windows.unseen_share"
        )
    folds = folds_of(cut, windows.folds, windows.train_share, windows.scheme)
    sizes = given.sizing
    sizing = Sizing(
        kind=sizes.kind,
        units=sizes.units,
        target_volatility=sizes.target_volatility,
        maximum_leverage=sizes.maximum_leverage,
        steps_per_year=sizes.steps_per_year or _steps_a_year(panel, int(days.first[cut])),
        rebalance_threshold=sizes.rebalance_threshold,
    )
    sizing.columns()
    balance = (params.get("risk") or {}).get("initial_balance", 100_000)
    account = Account(balance=Decimal(str(balance)), sizing=sizing)
    account.check()
    cost_parameters = params.get("costs") or {}
    costs = Costs.from_params(params)
    return History(panel, days, cut, tuple(folds), account, costs, currency, cost_parameters)


def _steps_a_year(panel: Panel, steps: int) -> float:
    """Return the mean number of bars of an instrument in a year of the research span."""
    years = float(panel.time_ns[steps - 1] - panel.time_ns[0]) / _YEAR
    present = ~np.isnan(panel.values[:steps, :, 3])
    return float(present.sum(axis=0).mean()) / years
