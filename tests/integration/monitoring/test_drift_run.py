"""A drift check on files, with the real Evidently report and a real MLflow store."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from core.errors import BadInputError
from core.files import read_json, write_json
from core.settings import get_settings
from monitoring.drift.run import run_drift

COLUMNS = ["momentum", "volatility", "always_missing"]


def _rows(start: str, steps: int, shift: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    times = pd.date_range(start, periods=steps, freq="D", tz="UTC")
    frames = []
    for instrument in ("EUR_USD", "USD_JPY"):
        frame = pd.DataFrame(rng.standard_normal((steps, 2)) + shift, columns=COLUMNS[:2])
        frame["always_missing"] = np.nan
        frame.insert(0, "event_timestamp", times)
        frame.insert(0, "instrument", instrument)
        frames.append(frame)
    return pd.concat(frames).sort_values(["event_timestamp", "instrument"]).reset_index(drop=True)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIDEGATE_STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.delenv("TIDEGATE_MLFLOW__TRACKING_URI", raising=False)
    get_settings.cache_clear()
    folder = tmp_path / "data" / "processed" / "features"
    folder.mkdir(parents=True)
    _rows("2020-01-01", 600, 0.0, 1).to_parquet(folder / "features.parquet")
    cutoff_ns = pd.Timestamp("2021-06-01", tz="UTC").value
    write_json(folder / "features.json", {"columns": COLUMNS, "cutoff_ns": cutoff_ns})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"market": "test", "validation": {"train_steps": 400}}))
    (tmp_path / "state" / "mlflow").mkdir(parents=True)
    yield tmp_path
    get_settings.cache_clear()


@pytest.mark.heavy
def test_a_moved_window_is_reported_in_html_json_and_mlflow(workspace: Path) -> None:
    live = workspace / "live.parquet"
    _rows("2021-06-01", 60, 2.0, 2).to_parquet(live)
    result = run_drift(workspace, live, workspace / "reports" / "drift")
    assert result.assessment.drifted
    assert result.assessment.reference_rows == 800  # 400 steps of two instruments, none at or after the cut-off
    assert Path(result.html).stat().st_size > 100_000
    assert "momentum" in Path(result.html).read_text()
    assert read_json(Path(result.json))["metrics"]
    assert read_json(Path(result.summary))["words"].startswith("drift: ")

    import mlflow

    run = mlflow.get_run(result.mlflow_run_id)
    assert run.data.metrics["drift.detected"] == 1.0
    names = {item.path for item in mlflow.MlflowClient().list_artifacts(result.mlflow_run_id, "drift")}
    assert names == {"drift/drift.html", "drift/drift.json", "drift/summary.json"}


def test_no_live_window_is_one_clear_line_and_writes_nothing(workspace: Path) -> None:
    with pytest.raises(BadInputError, match="trade first"):
        run_drift(workspace, workspace / "missing.parquet", workspace / "reports" / "drift")
    assert not (workspace / "reports").exists()
