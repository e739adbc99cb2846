"""Panels: the series of several instruments on one time axis, the input of the batch feature driver."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.domain import INPUT_COLUMNS, Panel
from core.errors import BadInputError
from data.catalog import Catalog
from data.granularity import parse_granularity


def load_panel(
    catalog: Path,
    instruments: Sequence[str],
    start_ns: int | None = None,
    end_ns: int | None = None,
    as_of_ns: int | None = None,
    granularity: str | None = None,
) -> Panel:
    """Return the bars or fixings of some instruments with ``start_ns <= event time < end_ns``.

    Where ``granularity``, ``start_ns`` or ``end_ns`` is None, the view of the last pipeline ingest decides, then the
    one granularity that all instruments have in common.

    Args:
        catalog: the catalog folder, ``data/raw/catalog``.
        instruments: names; the panel has them sorted.
        start_ns: first event time.
        end_ns: event time after the last.
        as_of_ns: show what was known at this moment; None: all that is known.
        granularity: ``fixing``, ``H1``, …

    Raises:
        BadInputError: there is no catalog, an instrument is not in it, or the granularity is left open.
    """
    store = Catalog(catalog)
    manifest = store.manifest()
    if not manifest.parts:
        raise BadInputError(f"{catalog} holds no market data: run ingest first")
    names = tuple(sorted(set(instruments)))
    if not names:
        raise BadInputError("a panel needs at least one instrument: set data.instruments")
    series = store.series()
    missing = [name for name in names if name not in series]
    if missing:
        raise BadInputError(f"{catalog} has no {', '.join(missing)}; it holds {', '.join(series)}: ingest them first")
    view = manifest.view
    if view is not None:
        granularity = granularity or view.granularity
        start_ns = view.since_ns if start_ns is None else start_ns
        end_ns = view.until_ns if end_ns is None else end_ns
    grain = parse_granularity(granularity or _common(series, names, catalog))
    if grain.is_quote:
        raise BadInputError(f"{catalog} view is of single quotes: ingest with data.granularity such as M1 to make bars")
    parts = [store.read(name, grain, start_ns, end_ns, as_of_ns) for name in names]
    empty = [name for name, rows in zip(names, parts, strict=True) if not len(rows)]
    if empty:
        raise BadInputError(f"{catalog} has no {grain.name} rows of {', '.join(empty)} in the range: ingest them first")
    time_ns = np.unique(np.concatenate([rows.event_ns for rows in parts]))
    arrival_ns = np.zeros((len(time_ns), len(names)), np.int64)
    values = np.full((len(time_ns), len(names), len(INPUT_COLUMNS)), np.nan)
    for index, rows in enumerate(parts):
        position = np.searchsorted(time_ns, rows.event_ns)
        arrival_ns[position, index] = rows.arrival_ns
        values[position, index] = rows.values
    return Panel(names, time_ns, arrival_ns, values, grain.kind)


def panel_digest(panel: Panel) -> str:
    """Return one SHA-256 over a panel: the data digest of lineage records."""
    state = hashlib.sha256(f"{panel.kind.value}\n{','.join(panel.instruments)}\n".encode())
    for integers in (panel.time_ns, panel.arrival_ns):
        state.update(np.ascontiguousarray(integers, np.dtype("<i8")).tobytes())
    values = np.where(np.isnan(panel.values), np.nan, panel.values) + 0.0
    state.update(np.ascontiguousarray(values, np.dtype("<f8")).tobytes())
    return state.hexdigest()


def _common(series: dict[str, tuple[str, ...]], names: Sequence[str], catalog: Path) -> str:
    """Return the one granularity of bars or fixings that all instruments have."""
    shared = set(series[names[0]])
    for name in names[1:]:
        shared &= set(series[name])
    shared.discard("tick")
    if len(shared) == 1:
        return shared.pop()
    held = "; ".join(f"{name}: {', '.join(series[name])}" for name in names)
    if not shared:
        raise BadInputError(f"{catalog} has no bars or fixings common to all instruments ({held})")
    raise BadInputError(f"{catalog} holds several granularities ({held}): choose one with data.granularity")
