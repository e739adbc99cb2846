"""The bitemporal catalog and the panels made from it."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.domain import INPUT_COLUMNS, BarKind
from core.errors import BadInputError, IntegrityError, UnavailableError
from data.batch import Batch
from data.catalog import Catalog, Written
from data.granularity import HOUR, parse_granularity
from data.manifest import View
from data.panel import load_panel, panel_digest

H1 = parse_granularity("H1")


def bars(count: int = 10, first: int = 0, level: float = 1.0, name: str = "EUR_USD") -> Batch:
    opened = (first + np.arange(count, dtype=np.int64)) * HOUR
    values = np.tile(level + np.arange(first, first + count)[:, None] / 100, (1, len(INPUT_COLUMNS)))
    values[:, 8] = np.nan
    closed = opened + HOUR
    return Batch(name, H1, "test", "o", opened, closed, closed, values, np.arange(count))


def ticks(times: list[int], level: float = 1.0) -> Batch:
    at = np.array(times, np.int64)
    values = np.column_stack([level + np.arange(len(at)) / 1e4] * 2 + [np.full(len(at), np.nan)] * 2)
    return Batch("EUR_USD", parse_granularity("tick"), "test", "o", at, at, at, values, np.arange(len(at)))


def test_writing_twice_changes_nothing_on_disk(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "c")
    assert catalog.write(bars()) == Written(10, 0, 0)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    assert catalog.write(bars()) == Written(0, 0, 10)
    assert catalog.write(bars(4, 3)) == Written(0, 0, 4)
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before


def test_correction_appends_a_version_and_the_past_stays(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "c")
    catalog.write(bars())
    early = catalog.digest(20 * HOUR)
    values = bars().values.copy()
    values[4, 3] = 9.9
    corrected = replace(bars(), values=values)
    with pytest.raises(BadInputError, match="1 rows differ"):
        catalog.write(corrected)
    assert catalog.write(corrected, known_ns=50 * HOUR) == Written(0, 1, 9)
    then, now = catalog.read("EUR_USD", H1, as_of_ns=49 * HOUR), catalog.read("EUR_USD", "H1")
    assert then.values[4, 3] == 1.04
    assert (now.values[4, 3], now.version[4], now.arrival_ns[4]) == (9.9, 2, 50 * HOUR)
    assert catalog.digest(20 * HOUR) == early
    assert catalog.digest(50 * HOUR) == catalog.digest() != early
    # a correction that claims to be older than what it corrects still comes after it
    catalog.write(bars(), known_ns=0)
    assert catalog.read("EUR_USD", H1).arrival_ns[4] == 50 * HOUR + 1
    assert catalog.digest(50 * HOUR) != catalog.digest(50 * HOUR + 1)
    assert catalog.read("EUR_USD", H1).values[4, 3] == 1.04


def test_as_of_shows_only_what_had_arrived(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "c")
    catalog.write(bars())
    assert len(catalog.read("EUR_USD", H1, as_of_ns=5 * HOUR)) == 5
    assert len(catalog.read("EUR_USD", H1, as_of_ns=0)) == 0
    assert catalog.read("EUR_USD", H1, 3 * HOUR, 6 * HOUR).event_ns.tolist() == [3 * HOUR, 4 * HOUR, 5 * HOUR]


def test_digest_does_not_depend_on_how_rows_were_written(tmp_path: Path) -> None:
    whole, parts = Catalog(tmp_path / "a"), Catalog(tmp_path / "b")
    whole.write(bars(10))
    for first in (6, 0, 3):
        parts.write(bars(4, first))
    assert whole.digest() == parts.digest()
    assert len(parts.manifest().parts) == 3


def test_quotes_of_one_millisecond_keep_their_order(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "c")
    batch = ticks([5, 7, 7, 7, 9])
    catalog.write(batch)
    rows = catalog.read("EUR_USD", "tick")
    assert rows.sequence.tolist() == [0, 0, 1, 2, 0]
    assert np.array_equal(rows.values, batch.values, equal_nan=True)
    assert catalog.write(batch) == Written(0, 0, 5)


def test_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "c")
    catalog.write(bars())
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    with pytest.raises(RuntimeError), catalog.transaction() as transaction:
        transaction.write(bars(name="GBP_USD"))
        transaction.write(bars(5, 20))
        raise RuntimeError
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before
    assert catalog.series() == {"EUR_USD": ("H1",)}
    with pytest.raises(RuntimeError), Catalog(tmp_path / "new").transaction() as transaction:
        transaction.write(bars())
        raise RuntimeError
    assert not (tmp_path / "new").exists()


def test_parts_left_by_a_crash_do_not_count_and_are_removed(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "c")
    catalog.write(bars())
    part = next((tmp_path / "c").rglob("*.parquet"))
    orphan = part.with_name("part-000009-0123456789ab.parquet")
    orphan.write_bytes(part.read_bytes())
    assert len(catalog.read("EUR_USD", H1)) == 10
    catalog.write(bars(2, 30))
    assert not orphan.exists()


def _hold(root: str, ready: "multiprocessing.synchronize.Event", done: "multiprocessing.synchronize.Event") -> None:
    with Catalog(Path(root)).transaction():
        ready.set()
        done.wait(30)


def test_second_writer_is_turned_away(tmp_path: Path) -> None:
    Catalog(tmp_path / "c").write(bars())
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path / "c"), ready, done))
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(UnavailableError, match="another process"):
            Catalog(tmp_path / "c").write(bars(2, 40))
        assert len(Catalog(tmp_path / "c").read("EUR_USD", H1)) == 10  # readers go on
    finally:
        done.set()
        other.join(30)
    assert Catalog(tmp_path / "c").write(bars(2, 40)).added == 2


def test_damage_is_found(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "c")
    catalog.write(bars())
    assert catalog.verify() == 1
    part = next((tmp_path / "c").rglob("*.parquet"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(bytes(content))
    with pytest.raises(IntegrityError, match="differs from its digest"):
        catalog.verify()
    part.unlink()
    with pytest.raises(IntegrityError, match="cannot be read"):
        catalog.read("EUR_USD", H1)
    (tmp_path / "c" / "manifest.json").write_text("{")
    with pytest.raises(IntegrityError, match="damaged"):
        catalog.manifest()


def test_panel_has_one_time_axis_and_nan_where_there_is_no_bar(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.write(bars(10))
    catalog.write(bars(4, 3, 2.0, "GBP_USD"))
    panel = load_panel(tmp_path, ["GBP_USD", "EUR_USD"])
    assert panel.instruments == ("EUR_USD", "GBP_USD")
    assert panel.kind is BarKind.BAR
    assert panel.values.shape == (10, 2, 9)
    assert np.isnan(panel.values[:3, 1]).all() and (panel.arrival_ns[:3, 1] == 0).all()
    assert panel.values[3, 1, 0] == 2.03
    assert (np.diff(panel.time_ns) > 0).all()
    assert panel.arrival_ns[3, 1] == panel.time_ns[3] == 4 * HOUR


def test_panel_follows_the_view_unless_told_otherwise(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    with catalog.transaction() as transaction:
        transaction.write(bars(10))
        transaction.write(replace(bars(3), granularity=parse_granularity("H2")))
    with pytest.raises(BadInputError, match="several granularities"):
        load_panel(tmp_path, ["EUR_USD"])
    with catalog.transaction() as transaction:
        transaction.set_view(View("test", "H1", ("EUR_USD",), 3 * HOUR, 7 * HOUR))
    assert len(load_panel(tmp_path, ["EUR_USD"]).time_ns) == 4
    assert len(load_panel(tmp_path, ["EUR_USD"], start_ns=0).time_ns) == 6
    assert len(load_panel(tmp_path, ["EUR_USD"], start_ns=0, granularity="H2").time_ns) == 3


def test_panel_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="run ingest first"):
        load_panel(tmp_path, ["EUR_USD"])
    Catalog(tmp_path).write(ticks([1, 2]))
    with pytest.raises(BadInputError, match="no bars or fixings"):
        load_panel(tmp_path, ["EUR_USD"])
    Catalog(tmp_path).write(bars())
    with pytest.raises(BadInputError, match="has no GBP_USD"):
        load_panel(tmp_path, ["EUR_USD", "GBP_USD"])
    with pytest.raises(BadInputError, match="no H1 rows of EUR_USD in the range"):
        load_panel(tmp_path, ["EUR_USD"], start_ns=10**18)
    with pytest.raises(BadInputError, match="at least one instrument"):
        load_panel(tmp_path, [])


def test_panel_digest_sees_every_value(tmp_path: Path) -> None:
    Catalog(tmp_path / "a").write(bars())
    Catalog(tmp_path / "b").write(bars(level=1.00001))
    first, second = load_panel(tmp_path / "a", ["EUR_USD"]), load_panel(tmp_path / "b", ["EUR_USD"])
    assert panel_digest(first) == panel_digest(load_panel(tmp_path / "a", ["EUR_USD"])) != panel_digest(second)
