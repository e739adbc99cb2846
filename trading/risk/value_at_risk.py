"""Value at risk and expected shortfall of the open positions over one step, parametric and historical.

Both take the same returns: of the middle prices of successive steps, simple (``p₁/p₀ − 1``), so that a position's
profit is linear in them: ``units · p₀ · r`` in quote currency.

* Parametric (variance–covariance): ``VaR = z_α · √(wᵀΣw)`` with ``w`` the notionals in account currency, ``z_α`` the
  normal quantile, mean return taken as 0; ``ES = φ(z_α)/(1−α) · √(wᵀΣw)``. ``Σ`` is the exponentially weighted second
  moment ``Σ_t = λ Σ_{t−1} + (1−λ) r_t r_tᵀ`` (J.P. Morgan/Reuters, *RiskMetrics – Technical Document*, 4th edition,
  1996, section 5.2; Jorion, *Value at Risk*, 3rd edition, 2007, chapters 9 and 10), with the weights made to sum to 1
  from the first return on (dividing by ``1 − λᵗ``). Off the diagonal it is shrunk by one tenth to 0 (Ledoit and Wolf,
  "Honey, I Shrunk the Sample Covariance Matrix", 2004, with the diagonal as target): with few steps a hedge that
  exists in the sample alone must not make a portfolio look safe.
* Historical, filtered: the last ``WINDOW`` portfolio returns of today's notionals, each rescaled from its day's
  volatility to today's (Hull and White, "Incorporating Volatility Updating into the Historical Simulation Method for
  Value at Risk", Journal of Risk 1, 1998); VaR is the loss of rank ``⌈n(1−α)⌉`` from the worst, expected shortfall the
  mean of the losses up to it (Acerbi and Tasche, "On the coherence of expected shortfall", 2002).

An instrument without a bar in a step has return 0 in it; one not seen yet has none. Losses are positive numbers.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.domain import INPUT_COLUMNS
from trading import records

Array = NDArray[np.float64]
WINDOW = 500  # returns of the historical measure
_TOGETHER = 64  # steps that are worked in at once where nobody asks: about 0.3 ms
LEAST = 30  # returns below which nothing is said
SHRINKAGE = 0.1
_BID, _ASK = INPUT_COLUMNS.index("bid_close"), INPUT_COLUMNS.index("ask_close")


class RiskFigures(msgspec.Struct, frozen=True):
    """Losses over one step that are exceeded with probability 1 − confidence, and their mean beyond, in money."""

    confidence: float
    returns: int  # steps they rest on
    parametric: float
    parametric_shortfall: float
    historical: float
    historical_shortfall: float


class ReturnHistory:
    """Returns and their covariance, updated once a step; a fold of ``StepClosed`` records, so a restart rebuilds it.

    Args:
        instruments: of the session, in the order of the steps' rows.
        decay: λ, weight of the past in the covariance.
    """

    def __init__(self, instruments: Sequence[str], decay: float) -> None:
        count = len(instruments)
        self._index = {name: number for number, name in enumerate(instruments)}
        self._decay = decay
        self._prices: Array = np.full(count, np.nan)
        self._complete = False  # whether every instrument has had a price
        self._moment: Array = np.zeros((count, count))
        self._known: Array | None = None  # the covariance; None: to be worked out
        self._returns: Array = np.zeros((WINDOW, count))  # a ring, with the variances that were known before each
        self._variances_then: Array = np.zeros((WINDOW, count))
        self._newest_ns = 0
        self._count = 0
        self._waiting: list[bytes] = []  # rows of steps that nobody has asked about yet

    @property
    def count(self) -> int:
        """How many returns there are."""
        self.settle()
        return self._count

    @property
    def ready(self) -> bool:
        """Whether there are enough returns to say something."""
        return self.count >= LEAST

    def replay(self, steps: Iterable[records.StepClosed]) -> None:
        """Take in the steps of a journal, oldest first."""
        for step in steps:
            self.take(step)

    def take(self, step: records.StepClosed) -> None:
        """Take in one step; one that is not newer than the last is left out.

        ``step.rows`` is float64 [N, 9] in bytes, as the loop writes it. It is worked in with the steps around it when
        somebody asks, or after ``_TOGETHER``.
        """
        if step.time_ns <= self._newest_ns:
            return
        self._newest_ns = step.time_ns
        self._waiting.append(step.rows)
        if len(self._waiting) >= _TOGETHER:
            self.settle()

    def settle(self) -> None:
        """Work in the steps that wait."""
        if not self._waiting:
            return
        rows: Array = np.frombuffer(b"".join(self._waiting), np.float64)
        rows = rows.reshape(len(self._waiting), len(self._index), len(INPUT_COLUMNS))
        self._waiting.clear()
        self._work_in((rows[:, :, _BID] + rows[:, :, _ASK]) / 2.0)

    def update(self, prices: Array) -> None:
        """Take in the middle prices of a step, float64 [N]; NaN or not positive: none in this step."""
        self.settle()
        self._work_in(prices.reshape(1, -1))

    def _work_in(self, prices: Array) -> None:
        """Take in the middle prices of successive steps, float64 [k, N]."""
        changes = np.asarray(self._changes(prices)).reshape(-1, prices.shape[1])
        news = (1.0 - self._decay) * (changes[:, :, None] * changes[:, None, :])
        moment, count, decay = self._moment, self._count, self._decay
        variances = moment.diagonal()  # moves with it
        for change, new in zip(changes, news, strict=True):
            place = count % WINDOW
            self._returns[place] = change
            # A volatility of a few returns would blow the oldest returns up or down: those stay as they were.
            if count >= LEAST:
                np.divide(variances, 1.0 - decay**count, out=self._variances_then[place])
            else:
                self._variances_then[place] = 0.0
            count += 1
            moment *= decay
            moment += new
        self._count = count
        self._known = None

    def _changes(self, prices: Array) -> Array | list[Array]:
        """Return the returns of the steps that have any, float64 [N] each; 0 where an instrument has none."""
        if self._complete and prices.min() > 0 and math.isfinite(prices.sum()):  # NaN is not greater than 0
            before = np.vstack((self._prices, prices[:-1]))
            self._prices = prices[-1].copy()
            return prices / before - 1.0
        changes: list[Array] = []
        for row in prices:
            usable = np.isfinite(row) & (row > 0)
            both = usable & np.isfinite(self._prices)
            change = np.zeros(len(row))
            change[both] = row[both] / self._prices[both] - 1.0
            self._prices = np.where(usable, row, self._prices)
            if both.any():
                changes.append(change)
        self._complete = bool(np.isfinite(self._prices).all())
        return changes

    def _variances(self) -> Array:
        """The diagonal of the covariance, float64 [N]."""
        return self._moment.diagonal() / (1.0 - self._decay**self._count) if self._count else self._moment.diagonal()

    @property
    def _covariance(self) -> Array:
        """Worked out when somebody asks: most steps are asked for nothing."""
        self.settle()
        if self._known is None:
            self._known = (1.0 - SHRINKAGE) * (self._moment / (1.0 - self._decay ** max(self._count, 1)))
            np.fill_diagonal(self._known, self._variances())
        return self._known

    def covariance(self) -> Array:
        """Return Σ of one step's returns, float64 [N, N]."""
        return self._covariance.copy()

    def parametric(self, positions: Mapping[str, float], rates: Mapping[str, float], confidence: float) -> float:
        """Return the parametric value at risk in account currency; NaN before ``LEAST`` returns.

        Args:
            positions: signed units by instrument.
            rates: the account currency's worth of one unit of each currency.
            confidence: α, such as 0.99.

        Raises:
            KeyError: a position's currency has no rate, or its instrument is not of the session.
        """
        if not self.ready:
            return math.nan
        return NormalDist().inv_cdf(confidence) * self._deviation(self._notionals(positions, rates))

    def figures(self, positions: Mapping[str, float], rates: Mapping[str, float], confidence: float) -> RiskFigures:
        """Return all measures; NaN before ``LEAST`` returns. Arguments and errors as for ``parametric``."""
        if not self.ready:
            return RiskFigures(confidence, self.count, *(math.nan,) * 4)
        notionals = self._notionals(positions, rates)
        deviation = self._deviation(notionals)
        normal = NormalDist()
        quantile = normal.inv_cdf(confidence)
        losses = np.sort(-(self._filtered() @ notionals))[::-1]
        # The rank is taken with a little slack: 500 · (1 − 0.99) is 5.000000000000004 in binary.
        rank = max(math.ceil(len(losses) * (1.0 - confidence) - 1e-9), 1)
        return RiskFigures(
            confidence=confidence,
            returns=self.count,
            parametric=quantile * deviation,
            parametric_shortfall=normal.pdf(quantile) / (1.0 - confidence) * deviation,
            historical=max(float(losses[rank - 1]), 0.0),
            historical_shortfall=max(float(losses[:rank].mean()), 0.0),
        )

    def _filtered(self) -> Array:
        """The returns of the window in today's volatility, float64 [n, N]."""
        kept = min(self.count, WINDOW)
        returns, then = self._returns[:kept], np.sqrt(self._variances_then[:kept])
        today = np.sqrt(np.diag(self._covariance))
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(then > 0, today / then, 1.0)
        return returns * scale

    def _deviation(self, notionals: Array) -> float:
        return math.sqrt(max(float(notionals @ self._covariance @ notionals), 0.0))

    def _notionals(self, positions: Mapping[str, float], rates: Mapping[str, float]) -> Array:
        notionals = np.zeros(len(self._index))
        for name, units in positions.items():
            if units:
                notionals[self._index[name]] = units * rates[name.partition("_")[0]]
        return notionals
