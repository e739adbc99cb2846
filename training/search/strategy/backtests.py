"""One parameter set, one assessment: a backtest of each training and test window, whole batches at a time.

Each window is a backtest of its own: flat at its start, the initial balance, the rule warmed up by the bars before it.
What a window says therefore depends on no bar after it, and what a *training* window says is in-sample for its fold,
what a *test* window says is out-of-sample for the fold whose training window ends where it begins.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.backtest import Market, run_batch
from training.search.strategy.candidates import Candidates
from training.search.strategy.history import History
from training.search.strategy.objectives import measure
from training.search.strategy.space import Values
from training.search.strategy.windows import Days, days_of

_CHUNK = 8_000_000  # returns of one call of the backtester: 64 MB
_LEAST = -0.999999  # a day cannot lose more than everything


@dataclass(frozen=True)
class Window:
    """P backtests of one window; see ``objectives.WindowSeries``."""

    daily: NDArray[np.float64]
    turnover: NDArray[np.float64]
    trades: NDArray[np.float64]
    ruined: NDArray[np.bool_]
    years: float


@dataclass(frozen=True)
class Assessed:
    """Windows of P parameter sets: figures float64 [P, F, M] and [P, K, M], ``returns`` float64 [P, D] over the test
    windows one after the other, ``shortfall`` float64 [P, F] of the training windows."""

    train: NDArray[np.float64]
    test: NDArray[np.float64]
    returns: NDArray[np.float64]
    shortfall: NDArray[np.float64]


class Backtester:
    """Backtests candidates on the research span. The unseen span is not in its arrays.

    Args:
        history: windows and bars.
        candidates: the rule and its space.
        minimum_trades: of a training window.
        workers: threads; None for one per core. The result does not depend on it.
    """

    def __init__(
        self, history: History, candidates: Candidates, minimum_trades: int, workers: int | None = None
    ) -> None:
        panel = history.research
        self._market = history.market(panel)
        self._days = days_of(panel.time_ns)
        self._history = history
        self._candidates = candidates
        self._minimum = minimum_trades
        self._workers = workers
        tests = [fold.test for fold in history.folds if fold.test is not None]
        self.test_days = tuple(end - start for start, end in tests)
        self.times_ns = self._days.end_ns[tests[0][0] : tests[-1][1]]

    def __call__(self, candidates: Sequence[Values]) -> Assessed:
        """Return the assessment of each candidate, in their order."""
        train: list[NDArray[np.float64]] = []
        test: list[NDArray[np.float64]] = []
        returns: list[NDArray[np.float64]] = []
        shortfall: list[NDArray[np.float64]] = []
        for fold in self._history.folds:
            window = self._window(candidates, fold.train)
            train.append(measure(window))
            few = np.maximum(self._minimum - window.trades, 0.0) / self._minimum
            shortfall.append(few + window.ruined)
            if fold.test is not None:
                window = self._window(candidates, fold.test)
                test.append(measure(window))
                returns.append(window.daily)
        return Assessed(
            np.stack(train, axis=1),
            np.stack(test, axis=1),
            np.concatenate(returns, axis=1),
            np.stack(shortfall, axis=1),
        )

    def _window(self, candidates: Sequence[Values], window: tuple[int, int]) -> Window:
        return run_window(self._market, self._days, window, self._history, self._candidates, candidates, self._workers)


def run_window(
    market: Market,
    days: Days,
    window: tuple[int, int],
    history: History,
    rule: Candidates,
    candidates: Sequence[Values],
    workers: int | None = None,
) -> Window:
    """Backtest parameter sets over a half-open window of days of a market.

    The rule sees as many bars before the window as its longest memory in the space, as far as there are any.
    """
    table = rule.table(candidates)
    first, last = int(days.first[window[0]]), int(days.first[window[1]]) if window[1] < len(days) else days.steps
    warm = min(first, rule.memory)
    part = market.part(first - warm, last)
    groups = days.first[window[0] : window[1]] - first
    chunk = max(_CHUNK // len(part), 1)
    daily, turnover, trades, ruined = [], [], [], []
    for start in range(0, len(table), chunk):
        batch = run_batch(
            part,
            rule.rule,
            table[start : start + chunk],
            history.account,
            history.costs,
            net=True,
            first=warm,
            workers=workers,
        )
        assert batch.net is not None
        steps = np.log1p(np.maximum(batch.net[:, warm:], _LEAST))
        daily.append(np.maximum(np.expm1(np.add.reduceat(steps, groups, axis=1)), _LEAST))
        turnover.append(batch.column("turnover"))
        trades.append(batch.column("trades"))
        ruined.append(batch.column("ruined") > 0.0)
    return Window(
        np.concatenate(daily),
        np.concatenate(turnover),
        np.concatenate(trades),
        np.concatenate(ruined),
        days.years(window),
    )
