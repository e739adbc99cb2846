"""Where a volume profile comes from: the ingested history of a workspace, or the ticks a session recorded."""

from collections.abc import Sequence
from pathlib import Path

from core.journal import read_entries
from data.catalog import Catalog
from data.granularity import parse_granularity
from data.panel import load_panel
from trading import records
from trading.execution.volume_profile import VolumeProfile, from_panel, from_ticks

_SECOND = 1_000_000_000


def profile_of_catalog(catalog: Path, instruments: Sequence[str]) -> VolumeProfile:
    """Estimate from the bars of the last ingest; every instrument must have tick volume.

    Raises:
        BadInputError: there is no catalog, its market is fixings, or it has no tick volume.
    """
    panel = load_panel(catalog, instruments)
    view = Catalog(catalog).manifest().view
    granularity = parse_granularity(view.granularity if view is not None else "fixing")
    name = view.source if view is not None else "the catalog"
    return from_panel(panel, granularity.length_ns // _SECOND, f"{name} {granularity.name}")


def profile_of_session(journal: Path, session_id: str) -> VolumeProfile:
    """Estimate from the quotes in a session's journal; simulated ticks are named as such in ``source``.

    Raises:
        BadInputError: there is no journal, or it holds no quote.
    """
    times: dict[str, list[int]] = {}
    simulated = False
    for entry in read_entries(journal):
        record = records.decode(entry)
        if isinstance(record, records.QuoteSeen):
            times.setdefault(record.quote.instrument, []).append(record.quote.time_ns)
            simulated = simulated or record.quote.simulated
    source = f"ticks of session {session_id}{' (simulated)' if simulated else ''}"
    return from_ticks(times or {"any instrument": []}, source)
