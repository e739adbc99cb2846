"""The gate of one series: judge its batches, keep the good rows, send the others to quarantine, count everything."""

from collections import Counter
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.domain import default_instrument
from core.errors import IntegrityError
from data.batch import Batch, Reject
from data.calendar import calendar_of
from data.granularity import MINUTE, Granularity
from data.quality import rules
from data.quality.gaps import Coverage, bar_coverage, fixing_coverage, quote_coverage
from data.quality.score import REASONS, Penalty, penalties, score

_STALE_RUN = {"quote": 100, "bar": 10, "fixing": 10}  # unchanged rows in a row that are no longer chance
_JUMPS_SHOWN = 20


class Jump(msgspec.Struct, frozen=True):
    """A move far outside the usual that stayed."""

    time_ns: int
    log_return: float
    score: float


class SeriesQuality(msgspec.Struct, frozen=True):
    """What the gate found in one instrument and granularity. ``rows_in = rows_kept + rows_quarantined``, always."""

    instrument: str
    granularity: str
    source: str
    origin: str
    derived: bool
    rows_in: int
    rows_kept: int
    rows_quarantined: int
    reasons: dict[str, int]
    first_event_ns: int | None
    last_event_ns: int | None
    out_of_order: int
    locked: int
    off_hours: int
    stale_rows: int
    longest_unchanged: int
    jump_count: int
    jumps: tuple[Jump, ...]
    coverage: Coverage
    penalties: tuple[Penalty, ...]
    score: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """One batch after the gate: the rows to keep, sorted, and the others with their reasons."""

    kept: Batch
    quarantined: Batch
    reasons: NDArray[np.object_]  # [len(quarantined)]
    rejects: tuple[Reject, ...]


class SeriesGate:
    """Judge the batches of one series one after another; ``finish`` sums up."""

    def __init__(self, instrument: str, granularity: Granularity) -> None:
        self._granularity = granularity
        self._instrument = instrument
        self._calendar = calendar_of(default_instrument(instrument).kind)
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._times: list[NDArray[np.int64]] = []
        self._kept_range: list[int] = []
        self._jumps: list[Jump] = []
        self._notes: dict[str, None] = {}
        self._origins: dict[str, None] = {}
        self._longest = 0
        self._source = ""
        self._derived = False
        self._window: tuple[int, int] | None = None

    def judge(self, batch: Batch) -> Judged:
        """Split one batch into rows to keep and rows to quarantine."""
        self._source, self._derived = batch.source, batch.derived
        self._notes.update(dict.fromkeys(batch.notes))
        self._origins[batch.origin] = None
        if batch.window_ns is not None:
            low, high = self._window or batch.window_ns
            self._window = (min(low, batch.window_ns[0]), max(high, batch.window_ns[1]))
        self._counts["in"] += len(batch) + len(batch.rejects)
        self._counts["out_of_order"] += rules.out_of_order(batch)
        batch = batch.take(np.argsort(batch.event_ns, kind="stable"))
        # A quarantined row is no gap: the source did have a row there.
        self._times.append(batch.event_ns if self._granularity.is_fixing else batch.open_ns)
        reasons = np.full(len(batch), "", object)

        def mark(mask: NDArray[np.bool_], reason: str) -> None:
            reasons[mask & (reasons == "")] = reason

        mark(rules.missing_price(batch), rules.MISSING_PRICE)
        mark(rules.non_positive(batch), rules.NON_POSITIVE)
        mark(rules.crossed(batch), rules.CROSSED)
        mark(rules.bad_ohlc(batch), rules.BAD_OHLC)
        mark(rules.market_closed(batch, self._calendar), rules.MARKET_CLOSED)
        # The rules that compare rows must not see the bad ones.
        for rule in (self._mark_repeated, self._mark_spikes):
            sound = np.flatnonzero(reasons == "")
            rule(batch.take(sound), sound, reasons)
        good = reasons == ""
        kept = batch.take(good)
        self._count(kept, reasons[~good], batch.rejects)
        return Judged(kept, batch.take(~good), reasons[~good], batch.rejects)

    def finish(self) -> SeriesQuality:
        """Return the findings over all batches.

        Raises:
            IntegrityError: a row was lost, which must never happen.
        """
        times = np.concatenate(self._times) if self._times else np.empty(0, np.int64)
        coverage = self._coverage(times)
        rows_in, kept = self._counts["in"], self._counts["kept"]
        quarantined = sum(self._reasons.values())
        if rows_in != kept + quarantined:
            raise IntegrityError(f"{self._instrument}: {rows_in} rows in, {kept} kept, {quarantined} quarantined")
        shares = {
            check: sum(self._reasons[reason] for reason in reasons) / max(rows_in, 1)
            for check, reasons in REASONS.items()
        }
        shares["out_of_order"] = self._counts["out_of_order"] / max(rows_in, 1)
        shares["stale"] = self._counts["stale"] / max(kept, 1)
        shares["gaps"] = coverage.gap_share
        found = penalties(shares)
        return SeriesQuality(
            self._instrument,
            self._granularity.name,
            self._source,
            _words(list(self._origins)),
            self._derived,
            rows_in,
            kept,
            quarantined,
            dict(sorted(self._reasons.items())),
            min(self._kept_range, default=None),
            max(self._kept_range, default=None),
            self._counts["out_of_order"],
            self._counts["locked"],
            self._counts["off_hours"],
            self._counts["stale"],
            self._longest,
            self._counts["jumps"],
            tuple(sorted(sorted(self._jumps, key=lambda j: -j.score)[:_JUMPS_SHOWN], key=lambda j: j.time_ns)),
            coverage,
            found,
            score(found),
            tuple(self._notes),
        )

    def _mark_repeated(self, sound: Batch, places: NDArray[np.int64], reasons: NDArray[np.object_]) -> None:
        duplicates, conflicts = rules.repeated(sound)
        reasons[places[duplicates]] = rules.DUPLICATE
        reasons[places[conflicts]] = rules.CONFLICT

    def _mark_spikes(self, sound: Batch, places: NDArray[np.int64], reasons: NDArray[np.object_]) -> None:
        bad, jumps = rules.spikes(sound)
        reasons[places[bad]] = rules.SPIKE
        self._counts["jumps"] += int(jumps.sum())
        if jumps.any():
            returns, scores = rules.robust_scores(rules.closes(sound))
            rows = np.flatnonzero(jumps)
            for row in rows[np.argsort(-scores[rows - 1], kind="stable")][:_JUMPS_SHOWN].tolist():
                found = Jump(int(sound.event_ns[row]), float(returns[row - 1]), round(float(scores[row - 1]), 1))
                self._jumps.append(found)

    def _count(self, kept: Batch, reasons: NDArray[np.object_], rejects: tuple[Reject, ...]) -> None:
        self._counts["kept"] += len(kept)
        self._reasons.update(reasons.tolist())
        self._reasons.update(reject.reason for reject in rejects)
        self._counts["locked"] += int(rules.locked(kept).sum())
        self._counts["off_hours"] += int(rules.off_hours(kept, self._calendar).sum())
        word = "quote" if self._granularity.is_quote else "fixing" if self._granularity.is_fixing else "bar"
        stale, longest = rules.stale_rows(kept, _STALE_RUN[word]) if len(kept) else (0, 0)
        self._counts["stale"] += stale
        self._longest = max(self._longest, longest)
        if len(kept):
            self._kept_range += [int(kept.event_ns[0]), int(kept.event_ns[-1])]

    def _coverage(self, times: NDArray[np.int64]) -> Coverage:
        if self._granularity.is_fixing:
            return fixing_coverage(times, self._window)
        if self._granularity.length_ns < MINUTE:
            return quote_coverage(np.sort(times), self._calendar)
        return bar_coverage(times, self._granularity, self._calendar, self._window)


def _words(origins: list[str]) -> str:
    if len(origins) <= 1:
        return "".join(origins)
    return f"{origins[0]} … {origins[-1]} ({len(origins)} files)"
