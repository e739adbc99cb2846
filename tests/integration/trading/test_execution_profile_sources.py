"""A volume profile from an ingested catalog and from a session's own ticks; a market of fixings has none."""

from pathlib import Path

import numpy as np
import pytest

from core.clock import NANOSECONDS, from_rfc3339
from core.domain import INPUT_COLUMNS, Quote
from core.errors import BadInputError
from core.journal import Journal
from data.batch import Batch
from data.catalog import Catalog
from data.granularity import parse_granularity
from data.manifest import View
from trading import records
from trading.execution.profile_sources import profile_of_catalog, profile_of_session

HOUR = 3600 * NANOSECONDS
START = from_rfc3339("2024-01-08T05:00:00Z")  # Monday, midnight in New York


def ingest(folder: Path, granularity: str, hours: int, volume: float) -> Path:
    opened = START + np.arange(hours, dtype=np.int64) * HOUR
    closed = opened if granularity == "fixing" else opened + HOUR
    values = np.full((hours, len(INPUT_COLUMNS)), 1.1)
    values[:, INPUT_COLUMNS.index("tick_volume")] = volume
    if granularity == "fixing":
        values[:, [0, 1, 2, 4, 5, 6, 8]] = np.nan
    rows = np.arange(1, hours + 1)
    with Catalog(folder).transaction() as transaction:
        grain = parse_granularity(granularity)
        transaction.write(Batch("EUR_USD", grain, "lean", "test", opened, closed, closed, values, rows))
        transaction.set_view(View("lean", granularity, ("EUR_USD",)))
    return folder


def test_bars_of_a_catalog(tmp_path: Path) -> None:
    profile = profile_of_catalog(ingest(tmp_path, "H1", 48, 250.0), ["EUR_USD"])
    assert profile.source == "lean H1" and profile.days == {"EUR_USD": 2}
    assert profile.expected("EUR_USD", START + 7 * 24 * HOUR, START + (7 * 24 + 3) * HOUR) == pytest.approx(750.0)


def test_fixings_and_bars_without_volume_have_none(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="fixings, one price a day"):
        profile_of_catalog(ingest(tmp_path / "fixings", "fixing", 30, 1.0), ["EUR_USD"])
    with pytest.raises(BadInputError, match="no tick volume of EUR_USD"):
        profile_of_catalog(ingest(tmp_path / "bars", "H1", 48, float("nan")), ["EUR_USD"])


def test_ticks_of_a_session(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no journal"):
        profile_of_session(tmp_path / "none", "none")
    with Journal(tmp_path) as journal:
        for second in range(30):
            time_ns = START + second * NANOSECONDS
            record = records.QuoteSeen(Quote("EUR_USD", time_ns, time_ns, 1.1, 1.1001, simulated=True))
            journal.append(records.kind_of(record), records.encode(record), time_ns)
    profile = profile_of_session(tmp_path, "one")
    assert profile.source == "ticks of session one (simulated)"
    assert profile.expected("EUR_USD", START, START + HOUR // 4) == pytest.approx(30.0)
