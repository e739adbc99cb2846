"""The features stage on a catalog made by the data room, materialisation by arrival, and the join over it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from core.domain import Panel
from core.errors import IntegrityError
from core.files import read_json
from features import stages
from features.batch import compute
from features.bench import made_panel
from features.live import LiveFeatures
from features.materialize import mark_path, materialize
from features.sets import feature_set
from features.store import historical_features, online_features, open_store

DEFINITION = feature_set("fixings")
NAMES = ("EUR_USD", "GBP_USD", "USD_JPY")
MINUTE = 60_000_000_000


def stored_panel(steps: int = 400, seed: int = 4) -> Panel:
    panel = made_panel(steps, NAMES, seed)
    panel.values[np.random.default_rng(seed).random((steps, 3)) < 0.05] = np.nan
    panel.arrival_ns[:] = np.where(np.isnan(panel.values[:, :, 3]), 0, panel.time_ns[:, None] + 5 * MINUTE)
    return panel


def build(workspace: Path, panel: Panel, cutoff_step: int = 300) -> Panel:
    stages.write_outputs(
        workspace / "data/processed/features", panel, DEFINITION, int(panel.time_ns[min(cutoff_step, 399)])
    )
    return panel


def test_outputs_hold_every_bar_and_the_state_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "_STEPS_AT_ONCE", 70)
    panel = build(tmp_path, stored_panel())
    folder = tmp_path / "data/processed/features"
    described = read_json(folder / "features.json")
    assert described["cutoff_ns"] == panel.time_ns[300]
    assert described["digest"] == DEFINITION.digest
    whole, _ = compute(panel, DEFINITION)
    frame = pd.read_parquet(folder / "features.parquet")
    assert list(frame.columns) == ["instrument", "event_timestamp", "created_timestamp", *DEFINITION.columns]
    assert str(pq.read_schema(folder / "features.parquet").field("event_timestamp").type) == "timestamp[us, tz=UTC]"
    step, index = np.nonzero(~np.isnan(panel.values[:, :, 3]))
    assert len(frame) == len(step)
    np.testing.assert_array_equal(frame[list(DEFINITION.columns)].to_numpy(), whole[step, index])
    assert list(frame["instrument"]) == [NAMES[item] for item in index]
    np.testing.assert_array_equal(
        frame["created_timestamp"].astype("int64"), panel.time_ns[step] // 1000 + 5 * MINUTE // 1000
    )
    live = LiveFeatures.restore(folder / "state.npz", 20, DEFINITION, NAMES)
    for position in range(300, 400):
        moment = int(panel.time_ns[position])
        np.testing.assert_array_equal(live.update(moment, panel.values[position]), whole[position])


def test_the_same_panel_gives_the_same_bytes(tmp_path: Path) -> None:
    panel = stored_panel()
    for name in ("first", "second"):
        build(tmp_path / name, panel)
    for file in ("features.parquet", "features.json", "state.npz"):
        first, second = (tmp_path / name / "data/processed/features" / file for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes(), file


def test_a_late_bar_holds_back_what_saw_it() -> None:
    panel = stored_panel(50)
    panel.arrival_ns[20, 0] = panel.time_ns[20] + 180 * MINUTE
    panel.values[20, 0] = panel.values[19, 1]
    known = stages.known_ns(panel)
    assert (known[:20] == panel.time_ns[:20] + 5 * MINUTE).all()
    assert (known[20:23] == panel.time_ns[20] + 180 * MINUTE).all()
    assert known[24] == panel.time_ns[24] + 5 * MINUTE


def test_join_over_the_stage_gives_each_decision_its_own_row(tmp_path: Path) -> None:
    panel = build(tmp_path, stored_panel())
    whole, _ = compute(panel, DEFINITION)
    step, index = np.nonzero(~np.isnan(panel.values[:, :, 3]))
    arrival = pd.to_datetime(panel.arrival_ns[step, index] // 1000, unit="us", utc=True)
    asked = pd.DataFrame({"instrument": [NAMES[item] for item in index], "event_timestamp": arrival})
    joined = historical_features(tmp_path, asked, DEFINITION)
    np.testing.assert_array_equal(joined[list(DEFINITION.columns)].to_numpy(), whole[step, index])
    earlier = asked.assign(event_timestamp=arrival - pd.Timedelta(microseconds=1))
    joined = historical_features(tmp_path, earlier, DEFINITION)
    later_rows = step > 0
    assert not (joined["return_1"].to_numpy()[later_rows] == whole[step, index, 0][later_rows]).any()


def test_materialise_by_arrival(tmp_path: Path) -> None:
    panel = build(tmp_path, stored_panel())
    known = stages.known_ns(panel)
    whole, _ = compute(panel, DEFINITION)

    def newest(row_index: int, until: int) -> tuple[int, float]:
        rows = np.flatnonzero(~np.isnan(panel.values[:, row_index, 3]) & (known <= until))
        return int(panel.time_ns[rows[-1]]), float(whole[rows[-1], row_index, 0])

    def check(until: int) -> None:
        for row in online_features(open_store(tmp_path), DEFINITION, NAMES, until):
            moment, value = newest(NAMES.index(row.instrument), until)
            assert (row.time_ns, row.values[0]) == (moment, value)

    first = materialize(tmp_path, DEFINITION, until_ns=int(known[200]))
    assert first.offered == NAMES
    check(int(known[200]))
    again = materialize(tmp_path, DEFINITION, until_ns=int(known[200]))
    assert (again.arrived, again.offered, again.mark_ns) == (0, (), first.mark_ns)
    second = materialize(tmp_path, DEFINITION)
    assert second.arrived == int((~np.isnan(panel.values[201:, :, 3])).sum())
    check(int(known[-1]))
    # Going back in time never takes a newer value away.
    mark_path(tmp_path, DEFINITION, None).unlink()
    materialize(tmp_path, DEFINITION, until_ns=int(known[100]))
    check(int(known[-1]))


def test_late_correction_of_an_old_bar_is_materialised(tmp_path: Path) -> None:
    """The corrected bar is old; the features it changes are new: Feast's own event-time mark would skip it."""
    panel = build(tmp_path, stored_panel())
    materialize(tmp_path, DEFINITION)
    before = online_features(open_store(tmp_path), DEFINITION, NAMES, 0)
    corrected = panel.values.copy()
    corrected[398, 0] = panel.values[398, 0] * 1.01 if not np.isnan(panel.values[398, 0, 3]) else panel.values[399, 0]
    arrival = panel.arrival_ns.copy()
    arrival[398, 0] = panel.time_ns[-1] + 600 * MINUTE
    later = Panel(panel.instruments, panel.time_ns, arrival, corrected, panel.kind)
    build(tmp_path, later)
    result = materialize(tmp_path, DEFINITION)
    assert result.offered == NAMES
    assert result.mark_ns == panel.time_ns[-1] + 600 * MINUTE
    expected, _ = compute(later, DEFINITION)
    after = online_features(open_store(tmp_path), DEFINITION, NAMES, 0)
    for left, right in zip(before, after, strict=True):
        index = NAMES.index(right.instrument)
        step = int(np.flatnonzero(panel.time_ns == right.time_ns)[0])
        assert right.time_ns == left.time_ns
        np.testing.assert_array_equal(right.values, expected[step, index])
    assert (before[0].values != after[0].values).any()


def test_a_lost_online_store_fills_again(tmp_path: Path) -> None:
    build(tmp_path, stored_panel())
    materialize(tmp_path, DEFINITION)
    for path in (tmp_path / "data/processed/feast").glob("online.db*"):
        path.unlink()
    (tmp_path / "data/processed/feast/registry.db").unlink()  # its tables are made again with the registry
    assert materialize(tmp_path, DEFINITION).offered == NAMES
    assert all(row.time_ns for row in online_features(open_store(tmp_path), DEFINITION, NAMES, 0))


def test_damaged_mark_is_one_clear_line(tmp_path: Path) -> None:
    build(tmp_path, stored_panel())
    materialize(tmp_path, DEFINITION)
    mark_path(tmp_path, DEFINITION, None).write_text("{}")
    with pytest.raises(IntegrityError, match="remove it"):
        materialize(tmp_path, DEFINITION)


def stage(workspace: Path, module: str, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, name]
    return subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False, env=dict(os.environ))


def test_stage_from_the_embedded_rates(tmp_path: Path) -> None:
    parameters = {
        "data": {
            "source": "ecb",
            "path": None,
            "timezone": None,
            "instruments": ["USD_JPY", "EUR_USD"],
            "since": "2022-01-03",
            "until": "2024-01-05",
            "holdout": {"count": 50},
            "minimum_quality": 0.5,
        },
        "features": {"set": "fixings", "warmup": 260},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(parameters))
    missing = stage(tmp_path, "features.stages", "build")
    assert missing.returncode == 5
    assert missing.stderr.strip().splitlines()[-1].startswith("tidegate build: ")
    assert not (tmp_path / "data/processed").exists()
    ingested = stage(tmp_path, "data.stages", "ingest")
    assert ingested.returncode == 0, ingested.stderr
    built = stage(tmp_path, "features.stages", "build")
    assert built.returncode == 0, built.stderr
    frame = pd.read_parquet(tmp_path / "data/processed/features/features.parquet")
    assert sorted(set(frame["instrument"])) == ["EUR_USD", "USD_JPY"]
    assert len(frame) > 900
    assert not frame[frame.groupby("instrument").cumcount() >= 252][list(DEFINITION.columns)].isna().any(axis=None)
    # 16:00 against 14:15 in Berlin
    assert set(frame["created_timestamp"] - frame["event_timestamp"]) == {pd.Timedelta(minutes=105)}


def test_unknown_set_and_stage(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(
        "features: {set: ticks}\ndata: {instruments: [EUR_USD], holdout: {count: 1}}\n"
    )
    wrong = stage(tmp_path, "features.stages", "build")
    assert (wrong.returncode, "fixings, bars" in wrong.stderr) == (5, True)
    assert stage(tmp_path, "features.stages", "rebuild").returncode == 2
