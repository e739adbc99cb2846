"""Workspaces: merged parameters, nothing written outside, nothing lost when made again."""

from pathlib import Path

import pytest
import yaml

from core.errors import BadInputError
from core.params import read_params
from tidegate.source import source_digest
from tidegate.workspace import create_workspace, merge, pipeline_environment

ROOT = Path(__file__).resolve().parents[3]


def test_mappings_merge_and_all_else_is_replaced() -> None:
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1, "data": {"holdout": {"count": 250}}}
    merged = merge(base, {"a": {"y": [3]}, "c": 2, "data": {"holdout": {"days": 365}}})
    assert merged == {"a": {"x": 1, "y": [3]}, "b": 1, "c": 2, "data": {"holdout": {"days": 365}}}
    assert base["data"] == {"holdout": {"count": 250}}, "the base was changed"


def test_dates_become_text(tmp_path: Path) -> None:
    overlay = yaml.safe_load("data: {since: 2020-01-31}")
    workspace = create_workspace(tmp_path / "w", overlay, ROOT)
    assert read_params(workspace / "params.yaml")["data"]["since"] == "2020-01-31"


def test_made_again_it_keeps_what_it_holds(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "w", {"seed": 1}, ROOT)
    for name in ("dvc.lock", "models/x", ".dvc/cache/files"):
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text("kept")
    before = (workspace / "dvc.yaml").stat().st_mtime_ns
    create_workspace(workspace, {"seed": 2}, ROOT)
    assert read_params(workspace / "params.yaml")["seed"] == 2
    assert all((workspace / name).read_text() == "kept" for name in ("dvc.lock", "models/x", ".dvc/cache/files"))
    assert (workspace / "dvc.yaml").stat().st_mtime_ns == before, "an unchanged file was written again"
    assert (workspace / "dvc.yaml").read_bytes() == (ROOT / "dvc.yaml").read_bytes()


def test_a_half_made_one_is_mended(tmp_path: Path) -> None:
    (tmp_path / "w" / ".dvc" / "tmp").mkdir(parents=True)
    workspace = create_workspace(tmp_path / "w", {}, ROOT)
    assert "no_scm" in (workspace / ".dvc" / "config").read_text()


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("")
    with pytest.raises(BadInputError, match="not a folder"):
        create_workspace(tmp_path / "w", {}, ROOT)


def test_nothing_of_dvc_lies_outside(tmp_path: Path) -> None:
    environment = pipeline_environment(tmp_path / "w", tmp_path / "state")
    folders = [value for key, value in environment.items() if key.startswith("DVC_") and key.endswith("_DIR")]
    assert len(folders) == 3
    assert all(folder.startswith(str(tmp_path / "state")) for folder in folders)


def test_the_source_digest_follows_the_data(tmp_path: Path) -> None:
    data = {"source": "histdata", "path": str(tmp_path)}
    (tmp_path / "a.csv").write_text("1")
    first = source_digest(data)
    assert source_digest(data) == first
    (tmp_path / "a.csv").write_text("2")
    assert source_digest(data) != first
    assert source_digest({"source": "ecb", "path": None}) != first
    with pytest.raises(BadInputError, match="not found: check"):
        source_digest({"source": "histdata", "path": str(tmp_path / "none")})
