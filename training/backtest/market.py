"""The market a backtest runs on: what rules see, and what is traded at, in whole ticks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from core.clock import to_datetime
from core.digest import digest_bytes
from core.domain import BarKind, Instrument, Panel, default_instrument
from core.errors import BadInputError
from trading.matching.financing import DAYS_CHARGED
from trading.matching.schedule import day_end
from training.backtest.conversion import exact_factors, middle_rates, routes
from training.backtest.kernel.arrays import (
    ASK_CLOSE,
    ASK_HIGH,
    ASK_LOW,
    ASK_OPEN,
    BID_CLOSE,
    BID_HIGH,
    BID_LOW,
    BID_OPEN,
    OTHER,
)
from training.costs import modelled_half_spread

_MOST_TICKS = 2**31 - 1
_NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True)
class Market:
    """Bars of N instruments on one axis of T times, and what their profits are worth in the account currency.

    Attributes:
        instruments: what is traded, in the order of the columns.
        currency: of the account.
        time_ns: int64 [T], closes, strictly increasing.
        open_ns: int64 [T], opens.
        rows: float64 [T, N, 9 or more]: what a rule sees, columns of ``core.domain.INPUT_COLUMNS`` first.
        prices: int32 [T, N, 8]: bid and ask open, high, low, close in ticks: what is traded at. The spread is the
            source's where it quotes one, else modelled.
        present: uint8 [T, N]: whether there is a bar.
        conversion: float64 [T, N]: account currency's worth of one unit of the quote currency at the close.
        modelled: per instrument, whether its spread is a parameter.
        kind: what one row is; a fixing has one price, and nothing is known of a path.
    """

    instruments: tuple[Instrument, ...]
    currency: str
    time_ns: NDArray[np.int64]
    open_ns: NDArray[np.int64]
    rows: NDArray[np.float64]
    prices: NDArray[np.int32]
    present: NDArray[np.uint8]
    route: NDArray[np.int64]
    factors: NDArray[np.int64]
    middles: NDArray[np.float64]
    bases: NDArray[np.float64]
    days_before: NDArray[np.int64]
    days_after: NDArray[np.int64]
    modelled: tuple[bool, ...]
    kind: BarKind

    def __len__(self) -> int:
        return len(self.time_ns)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the instruments."""
        return tuple(instrument.name for instrument in self.instruments)

    @property
    def conversion(self) -> NDArray[np.float64]:
        """Worth of one unit of each quote currency at the close, float64 [T, N]."""
        return self.middles[:, 1]

    @classmethod
    def from_panel(
        cls,
        panel: Panel,
        currency: str = "USD",
        costs: Mapping[str, Any] | None = None,
        instruments: Mapping[str, Instrument] | None = None,
    ) -> "Market":
        """Build from a panel.

        Args:
            panel: bars or fixings.
            currency: of the account.
            costs: section ``costs`` of ``params.yaml``; its ``half_spread_pips`` is used where a source has one price.
            instruments: the broker's own terms; OANDA's conventions where an instrument is not among them.

        Raises:
            BadInputError: no bars, crossed quotes, a currency that cannot be converted, or a modelled spread that is
                missing.
        """
        if not len(panel.time_ns):
            raise BadInputError("a market without a bar: widen the range")
        known = tuple((instruments or {}).get(name) or default_instrument(name) for name in panel.instruments)
        prices, present, modelled = _prices(panel, known, costs or {})
        bars = panel.kind is BarKind.BAR
        length = int(np.diff(panel.time_ns).min()) if bars and len(panel.time_ns) > 1 else 0
        open_ns = panel.time_ns - length
        before, after = financing_days(open_ns, panel.time_ns)
        route, factors, middles, bases = _conversion(known, currency, prices, present)
        return cls(
            known,
            currency,
            np.ascontiguousarray(panel.time_ns),
            open_ns,
            np.ascontiguousarray(panel.values),
            prices,
            present,
            route,
            factors,
            middles,
            bases,
            before,
            after,
            modelled,
            panel.kind,
        )

    def between(self, start_ns: int, end_ns: int) -> "Market":
        """Return the rows with ``start_ns <= time < end_ns``.

        Raises:
            BadInputError: there are none.
        """
        low, high = (int(place) for place in np.searchsorted(self.time_ns, [start_ns, end_ns]))
        return self.part(low, high)

    def part(self, first: int, last: int) -> "Market":
        """Return the rows ``first`` to ``last`` (exclusive).

        Raises:
            BadInputError: there are none.
        """
        if not 0 <= first < last <= len(self):
            raise BadInputError(f"rows {first} to {last} of a market of {len(self)}: choose a range with rows")
        here = slice(first, last)
        fields = ("time_ns", "open_ns", "rows", "prices", "present", "middles", "bases", "days_before", "days_after")
        parts: dict[str, Any] = {name: getattr(self, name)[here] for name in fields}
        factors = self.factors[here] if len(self.factors) else self.factors
        return replace(self, factors=factors, **parts)

    def select(self, names: Sequence[str]) -> "Market":
        """Return some of the instruments; conversion stays what it was, also over pairs that are left out.

        Raises:
            BadInputError: an instrument is not there.
        """
        missing = sorted(set(names) - set(self.names))
        if missing or not names:
            raise BadInputError(f"the market has no {', '.join(missing) or 'selected instrument'}: {self.names}")
        columns = [self.names.index(name) for name in self.names if name in set(names)]
        return replace(
            self,
            instruments=tuple(self.instruments[index] for index in columns),
            rows=np.ascontiguousarray(self.rows[:, columns]),
            prices=np.ascontiguousarray(self.prices[:, columns]),
            present=np.ascontiguousarray(self.present[:, columns]),
            route=self.route[columns],
            factors=np.ascontiguousarray(self.factors[:, :, columns]) if len(self.factors) else self.factors,
            middles=np.ascontiguousarray(self.middles[:, :, columns]),
            bases=np.ascontiguousarray(self.bases[:, :, columns]),
            modelled=tuple(self.modelled[index] for index in columns),
        )

    def widened(self, multiple: float) -> "Market":
        """Return the market with every traded spread times ``multiple``, to whole ticks; what rules see stays.

        Raises:
            BadInputError: the multiple is negative or leaves a price at 0.
        """
        if not 0 <= multiple < 1e6:
            raise BadInputError(f"a spread multiple of {multiple}: give a number of at least 0")
        if multiple == 1.0:
            return self
        prices = self.prices.astype(np.int64)
        bid, ask = prices[..., :4], prices[..., 4:]
        wider = np.rint((multiple - 1.0) * (ask - bid)).astype(np.int64)
        low = wider // 2
        prices = np.concatenate([bid - low, ask + (wider - low)], axis=-1)
        prices[..., BID_HIGH] = prices[..., :4].max(axis=-1)
        prices[..., BID_LOW] = prices[..., :4].min(axis=-1)
        prices[..., ASK_HIGH] = prices[..., 4:].max(axis=-1)
        prices[..., ASK_LOW] = prices[..., 4:].min(axis=-1)
        if (prices[self.present.astype(bool)] <= 0).any():
            raise BadInputError(f"a spread multiple of {multiple} leaves a bid at 0")
        return replace(self, prices=np.ascontiguousarray(prices.astype(np.int32)))

    def digest(self) -> str:
        """Return the SHA-256 of everything a result depends on."""
        head = f"{','.join(map(repr, self.instruments))}\n{self.currency}\n{self.kind.value}\n".encode()
        arrays = (
            self.time_ns, self.open_ns, self.rows, self.prices, self.present, self.route, self.factors, self.middles,
            self.bases, self.days_before, self.days_after,
        )  # fmt: skip
        return digest_bytes(head + b"".join(np.ascontiguousarray(array).tobytes() for array in arrays))


def in_ticks(values: NDArray[np.float64], instrument: Instrument) -> NDArray[np.int64]:
    """Return prices in whole ticks as ``Instrument.round_price`` rounds them; 0 for NaN.

    Raises:
        BadInputError: a price is not above 0, or too large.
    """
    scaled = values * 10.0**instrument.display_precision
    ticks = np.rint(scaled)
    # Where the float is near a half its decimal text decides; elsewhere both round to the same tick.
    doubtful = np.flatnonzero(np.abs(np.abs(scaled - ticks) - 0.5).ravel() < 1e-6)
    flat, source = ticks.reshape(-1), values.reshape(-1)
    for place in doubtful.tolist():
        flat[place] = int(instrument.round_price(float(source[place])).scaleb(instrument.display_precision))
    known = ~np.isnan(values)
    if ((ticks[known] <= 0) | (ticks[known] > _MOST_TICKS)).any():
        raise BadInputError(f"{instrument.name} has a price that is not above 0 or too large: check the catalog")
    return np.where(known, ticks, 0.0).astype(np.int64)


def _prices(
    panel: Panel, instruments: Sequence[Instrument], costs: Mapping[str, Any]
) -> tuple[NDArray[np.int32], NDArray[np.uint8], tuple[bool, ...]]:
    """Return traded prices in ticks, where there is a bar, and whose spread is modelled."""
    count = (len(panel.time_ns), len(instruments))
    prices = np.zeros((*count, 8), np.int64)
    present = ~np.isnan(panel.values[:, :, BID_CLOSE]) & ~np.isnan(panel.values[:, :, ASK_CLOSE])
    modelled: list[bool] = []
    for index, instrument in enumerate(instruments):
        bars = panel.values[:, index, :8].copy()
        here = present[:, index]
        if not here.any():
            raise BadInputError(f"{instrument.name} has no bar in the range: widen it, or leave the instrument out")
        bars[~here] = np.nan
        for side in (0, 4):
            close = bars[:, side + 3]
            for column in range(side, side + 3):  # a fixing is one price: it is all there is to trade at
                bars[:, column] = np.where(np.isnan(bars[:, column]), close, bars[:, column])
        if (bars[here, 4:] < bars[here, :4]).any():
            raise BadInputError(
                f"{instrument.name} has crossed quotes in the catalog: run ingest again, its gate quarantines them"
            )
        one_price = bool((bars[here, ASK_CLOSE] == bars[here, BID_CLOSE]).all())
        modelled.append(one_price)
        if one_price:
            half = modelled_half_spread(costs, instrument.name)
            bars[:, :4] -= half
            bars[:, 4:] += half
        ticks = in_ticks(bars, instrument)
        for side in (0, 4):
            four = ticks[:, side : side + 4]
            four[:, 1], four[:, 2] = four.max(axis=1), four.min(axis=1)
        prices[:, index] = ticks
    return np.ascontiguousarray(prices.astype(np.int32)), present.astype(np.uint8), tuple(modelled)


def _conversion(
    instruments: Sequence[Instrument], home: str, prices: NDArray[np.int32], present: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return route [N], exact factors [T, 2, N, 2] where one needs them, and middle rates [T, 2, N] of quote, base."""
    names = [instrument.name for instrument in instruments]
    decimals = [instrument.display_precision for instrument in instruments]
    kinds, chains = routes(instruments, home)
    steps, count = present.shape
    closes = _standing(prices[:, :, BID_CLOSE], present), _standing(prices[:, :, ASK_CLOSE], present)
    held = np.concatenate([np.zeros((1, count), np.int64), closes[0][:-1]])
    held_ask = np.concatenate([np.zeros((1, count), np.int64), closes[1][:-1]])
    here = present.astype(bool)
    opens = np.where(here, prices[:, :, BID_OPEN], held), np.where(here, prices[:, :, ASK_OPEN], held_ask)
    others = bool((kinds == OTHER).any())
    factors = np.zeros((steps if others else 0, 2, count, 2), np.int64)
    middles, bases = np.ones((steps, 2, count)), np.ones((steps, 2, count))
    currencies = dict.fromkeys(currency for name in names for currency in name.split("_"))
    ticks = np.array([float(instrument.tick) for instrument in instruments])
    for moment, (bid, ask) in enumerate((opens, closes)):
        for index in np.flatnonzero(kinds == OTHER).tolist():
            factors[:, moment, index] = exact_factors(bid, ask, decimals, chains[index])
        with np.errstate(divide="ignore", invalid="ignore"):
            rates = middle_rates((bid * ticks + ask * ticks) / 2.0, names, home, currencies)
        for index, name in enumerate(names):
            base, _, quote = name.partition("_")
            for target, currency in ((middles, quote), (bases, base)):
                target[:, moment, index] = np.where(np.isfinite(rates[currency]), rates[currency], 0.0)
    return kinds, factors, middles, bases


def _standing(values: NDArray[np.int32], present: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the newest known value of each column, int64 [T, N]; 0 before the first."""
    places = np.where(present.astype(bool), np.arange(len(values))[:, None], -1)
    places = np.maximum.accumulate(places, axis=0)
    found = np.take_along_axis(values.astype(np.int64), np.maximum(places, 0), axis=0)
    return np.where(places >= 0, found, 0)


def financing_days(
    open_ns: NDArray[np.int64], close_ns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the days of financing charged before each open and at each close, int64 [T] each.

    What falls due (17:00 New York, as ``trading.matching.financing`` counts the days) after the close before and until
    the open is charged before the open; what falls due inside a bar or at its end is charged at its close.
    """
    before, after = np.zeros(len(open_ns), np.int64), np.zeros(len(open_ns), np.int64)
    due = day_end(int(open_ns[0]))
    last = int(close_ns[-1])
    while due <= last:
        days = DAYS_CHARGED[to_datetime(due).astimezone(_NEW_YORK).weekday()]
        if days:
            row = int(np.searchsorted(close_ns, due))  # the first row that closes at it or later
            if due <= open_ns[row]:
                before[row] += days
            else:
                after[row] += days
        due = day_end(due)
    return before, after
