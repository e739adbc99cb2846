"""From the embedded rates to the dataset: what the model sees is what the features stage computed, row by row."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from synthetic_market import parameters

from core.files import read_json
from training.dataset import DATASET, LABELS, load_dataset

pytestmark = pytest.mark.heavy


def run(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TIDEGATE_STATE_DIRECTORY": str(workspace / "state")}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=200)


def test_each_row_holds_the_features_of_its_own_step_and_none_of_the_holdout(tmp_path: Path) -> None:
    names = ["EUR_USD", "USD_JPY"]
    content = parameters()
    content["data"] = {
        "source": "ecb", "path": None, "timezone": None, "instruments": names, "since": "2018-01-01", "until": None,
        "holdout": {"count": 100}, "minimum_quality": 0.9,
    }  # fmt: skip
    content["costs"]["half_spread_pips"] = dict.fromkeys(names, 0.7)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    early = run(tmp_path, "training.stages", "dataset")
    assert early.returncode == 5 and "features.json is missing: run the features stage first" in early.stderr
    for stage in (("data.stages", "ingest"), ("features.stages", "build")):
        assert run(tmp_path, *stage).returncode == 0
    for name in ("labels", "dataset"):
        done = run(tmp_path, "training.stages", name)
        assert done.returncode == 0, done.stderr
    described = read_json(tmp_path / "data/processed/features/features.json")
    made = load_dataset(tmp_path / DATASET, described["columns"], 1)
    assert made.time_ns.max() < described["cutoff_ns"] and made.label_end_ns.max() < described["cutoff_ns"]
    assert made.bar.min() == 40  # features.warmup rows per instrument are left out
    source = pq.read_table(tmp_path / "data/processed/features/features.parquet")
    place = {
        key: row
        for row, key in enumerate(
            zip(
                source["instrument"].to_pylist(),
                source["event_timestamp"].cast("int64").to_pylist(),
                strict=True,
            )
        )
    }
    rows = [place[names[i], t // 1000] for i, t in zip(made.instrument, made.time_ns.tolist(), strict=True)]
    for position, column in enumerate(described["columns"]):
        expected = source[column].to_numpy()[rows].astype(np.float32)
        assert np.array_equal(made.features[:, position], expected, equal_nan=True), column
    labels = pq.read_table(tmp_path / LABELS)
    assert len(made.label) == labels.num_rows - 2 * 40
    again = (tmp_path / DATASET).read_bytes()
    assert run(tmp_path, "training.stages", "dataset").returncode == 0
    assert (tmp_path / DATASET).read_bytes() == again
