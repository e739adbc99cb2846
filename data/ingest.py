"""Ingest: source → quality gate → quarantine and catalog, all of it or nothing of it."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from core.clock import Clock, LiveClock
from core.domain import normalise_name
from core.errors import BadInputError
from core.logging import get_logger
from data.batch import Batch, concatenate
from data.catalog import Catalog, Transaction, Written
from data.granularity import Granularity, parse_granularity
from data.manifest import View
from data.quality.gate import Judged, SeriesGate, SeriesQuality
from data.quality.quarantine import quarantine_table, write_quarantine
from data.quality.report import QualityReport, make_report, write_refused, write_report
from data.resample import merge_bars, resample
from data.sources import LoadOptions, find_source
from data.window import parse_range

CATALOG = Path("data/raw/catalog")
QUARANTINE = Path("data/raw/quarantine")
REPORTS = Path("reports/quality")
CHUNK_ROWS = 4_000_000  # rows judged at once: bounds memory, and no day of one pair is longer

_log = get_logger("data")


class IngestResult(msgspec.Struct, frozen=True):
    """What an ingest did. Paths are those of the workspace."""

    source: str
    instruments: tuple[str, ...]
    granularity: str
    rows_in: int
    rows_kept: int
    rows_quarantined: int
    added: int
    corrected: int
    unchanged: int
    score: float
    first_event_ns: int | None
    last_event_ns: int | None
    catalog: Path
    report: Path
    quarantine: Path


def ingest(
    workspace: Path,
    source: str,
    path: str | Path | None = None,
    instruments: Sequence[str] = (),
    since: Any = None,
    until: Any = None,
    *,
    timezone: str | None = None,
    granularity: str | None = None,
    minimum_quality: float = 0.9,
    clock: Clock | None = None,
) -> IngestResult:
    """Bring market data into the workspace's catalog.

    The data are judged first; the catalog, the quarantine and the report change only when every series passed. Rows
    that differ from what the catalog holds become corrections known from now on (``clock``). Ingesting the same again
    changes nothing.

    Args:
        workspace: folder with ``data/raw`` and ``reports``; relative paths start here.
        source: a name of ``data.sources``.
        path: file or folder; ``~`` and environment variables are expanded. None: what the source has built in.
        instruments: names such as ``EUR_USD``; empty: all that the source offers.
        since: first moment, a date or RFC 3339 time, UTC.
        until: a date (through its end) or the moment before which rows count.
        timezone: clock of the file, where it differs from the one measured for the format.
        granularity: bars to deliver; made from finer rows where the source has no such bars. None: as they are.
        minimum_quality: refuse when a series scores less.
        clock: tells when a correction became known.

    Raises:
        BadInputError: the input cannot be used; nothing was changed.
    """
    reader = find_source(source)
    since_ns, until_ns = parse_range(since, until)
    names = tuple(sorted({_instrument(name) for name in instruments}))
    if not 0.0 <= minimum_quality <= 1.0:
        raise BadInputError(f"data.minimum_quality is {minimum_quality}: give a number from 0 to 1")
    target = None if granularity is None else parse_granularity(granularity)
    location = None if path is None else expand_path(path, workspace)
    batches = reader.load(location, names, since_ns, until_ns, LoadOptions(timezone, granularity))
    catalog = Catalog(workspace / CATALOG)
    tables: list[pa.Table] = []
    with catalog.transaction() as transaction:
        series, written = _judge_and_write(batches, target, transaction, tables, (clock or LiveClock()).time_ns())
        report = make_report(source, minimum_quality, series)
        _require_rows(report, names, source, location)
        if not report.accepted:
            refused = write_refused(workspace / REPORTS, report)
            raise BadInputError(f"{report.refusal}; see {refused}, or lower data.minimum_quality")
        grain = _one_granularity(report, target)
        kept = tuple(sorted({found.instrument for found in series if found.granularity == grain}))
        transaction.set_view(View(source, grain, kept, since_ns, until_ns))
        (workspace / QUARANTINE).mkdir(parents=True, exist_ok=True)
        for table in tables:
            write_quarantine(workspace / QUARANTINE, table)
        html = write_report(workspace / REPORTS, report)
    firsts = [found.first_event_ns for found in series if found.first_event_ns is not None]
    lasts = [found.last_event_ns for found in series if found.last_event_ns is not None]
    return IngestResult(
        source,
        kept,
        grain,
        report.rows_in,
        report.rows_kept,
        report.rows_quarantined,
        sum(part.added for part in written),
        sum(part.corrected for part in written),
        sum(part.unchanged for part in written),
        report.score,
        min(firsts, default=None),
        max(lasts, default=None),
        workspace / CATALOG,
        html,
        workspace / QUARANTINE,
    )


def expand_path(path: str | Path, workspace: Path) -> Path:
    """Return a path with ``~`` and ``$VARIABLE`` expanded, taken from the workspace when it is relative.

    Raises:
        BadInputError: a variable in it is not set.
    """
    text = os.path.expandvars(str(path))
    if "$" in text:
        raise BadInputError(f"data.path is {path}: a variable in it is not set")
    expanded = Path(text).expanduser()
    return expanded if expanded.is_absolute() else workspace / expanded


def _instrument(name: Any) -> str:
    if not isinstance(name, str):
        raise BadInputError(f"unknown instrument {name!r}: write pairs like EUR_USD")
    try:
        return normalise_name(name)
    except BadInputError:
        raise BadInputError(f"unknown instrument {name!r}: write pairs like EUR_USD") from None


def _judge_and_write(
    batches: Iterable[Batch],
    target: Granularity | None,
    transaction: Transaction,
    tables: list[pa.Table],
    known_ns: int,
) -> tuple[list[SeriesQuality], list[Written]]:
    """Judge series after series and write their good rows; return the findings and what was written."""
    series: list[SeriesQuality] = []
    written: list[Written] = []
    seen: set[tuple[str, str]] = set()
    for key, group in groupby(batches, key=lambda batch: (batch.instrument, batch.granularity)):
        instrument, grain = key
        if (instrument, grain.name) in seen:
            raise BadInputError(f"{instrument} {grain.name} comes in two places of the source: ingest one at a time")
        seen.add((instrument, grain.name))
        gate = SeriesGate(instrument, grain)
        taken_out: list[Judged] = []
        bars: list[Batch] = []
        for chunk in _chunked(group):
            judged = gate.judge(chunk)
            written.append(transaction.write(judged.kept, known_ns))
            if target is not None and target != grain:
                bars.append(resample(judged.kept, target))
            taken_out.append(replace(judged, kept=judged.kept.take(np.empty(0, np.int64))))
        found = gate.finish()
        _log.info("judged", series=f"{instrument} {grain.name}", rows=found.rows_in, score=found.score)
        series.append(found)
        table = quarantine_table(instrument, grain.name, found.source, taken_out)
        if table is not None:
            tables.append(table)
        if bars:
            made = SeriesGate(instrument, bars[0].granularity)
            written.append(transaction.write(made.judge(merge_bars(concatenate(bars))).kept, known_ns))
            series.append(made.finish())
    return series, written


def _chunked(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Join files until a chunk is full, so that rules which compare rows see across the joints."""
    waiting: list[Batch] = []
    for batch in batches:
        if waiting and sum(len(part) for part in waiting) + len(batch) > CHUNK_ROWS:
            yield concatenate(waiting)
            waiting = []
        waiting.append(batch)
    if waiting:
        yield concatenate(waiting)


def _require_rows(report: QualityReport, names: Sequence[str], source: str, path: Path | None) -> None:
    where = path if path is not None else source
    with_rows = {found.instrument for found in report.series if found.rows_in}
    missing = [name for name in names if name not in with_rows]
    if missing or not report.rows_in:
        words = ", ".join(missing) if missing else "any instrument"
        raise BadInputError(f"{where} has no rows of {words} in the range: check data.path, since and until")
    empty = [f"{found.instrument} ({found.reasons})" for found in report.series if not found.rows_kept]
    if empty:
        raise BadInputError(f"{where} has no usable row of {', '.join(empty)}: the number is rows a reason")


def _one_granularity(report: QualityReport, target: Granularity | None) -> str:
    if target is not None:
        return target.name
    found = sorted({series.granularity for series in report.series})
    if len(found) > 1:
        raise BadInputError(f"the source holds the granularities {', '.join(found)}: choose one with data.granularity")
    return found[0]
