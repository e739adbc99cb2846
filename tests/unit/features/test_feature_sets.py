"""Sets, catalogue, digest and the rendered page."""

import importlib
from pathlib import Path

import pytest

from core.errors import BadInputError
from features.catalogue import catalogue
from features.describe import render
from features.kernel import BAR_COLUMNS, CLOSE_COLUMNS, COLUMNS, source
from features.sets import SET_NAMES, feature_set


def test_sizes_and_order() -> None:
    fixings, bars = feature_set("fixings"), feature_set("bars")
    assert len(fixings.columns) >= 40
    assert len(bars.columns) >= 60
    assert bars.columns == CLOSE_COLUMNS + BAR_COLUMNS
    assert fixings.columns == bars.columns[: len(fixings.columns)]
    assert len(set(bars.columns)) == len(bars.columns)


def test_warm_within_the_rows_no_model_sees() -> None:
    for name in SET_NAMES:
        assert max(feature_set(name).warm_up) < 260


def test_digests_differ_and_stay() -> None:
    assert feature_set("fixings").digest != feature_set("bars").digest
    before = feature_set("bars").digest
    feature_set.cache_clear()
    assert feature_set("bars").digest == before
    assert before[:16] in feature_set("bars").service


def test_digest_follows_the_kernel_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = feature_set("bars").digest
    folder = Path(source.__file__).parent
    for path in folder.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "price.py").write_text((tmp_path / "price.py").read_text().replace("HALF_PI * ", ""))
    monkeypatch.setattr(source, "__file__", str(tmp_path / "source.py"))
    source.kernel_digest.cache_clear()
    feature_set.cache_clear()
    try:
        assert feature_set("bars").digest != before
    finally:
        monkeypatch.undo()
        source.kernel_digest.cache_clear()
        feature_set.cache_clear()
    assert feature_set("bars").digest == before


def test_unknown_set_names_the_choices() -> None:
    with pytest.raises(BadInputError, match="fixings, bars"):
        feature_set("ticks")


def test_catalogue_describes_every_column_once() -> None:
    features = catalogue()
    assert tuple(feature.name for feature in features) == COLUMNS
    for feature in features:
        assert feature.formula and feature.unit and feature.source
        assert feature.warm_up >= 0


def test_page_has_one_row_a_feature() -> None:
    page = render()
    for column in COLUMNS:
        assert page.count(f"| `{column}` |") == 1
    assert all(line.replace("\\|", "").count("|") == 7 for line in page.splitlines() if line.startswith("| `"))
    assert "Carry is not among the features" in page


def test_import_is_light() -> None:
    """The trader imports these: no training library may come along."""
    import subprocess
    import sys

    script = "import sys, features.live, features.publish, features.store, features.push; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & {"feast", "pandas", "pyarrow", "duckdb", "torch", "sklearn"}
    assert importlib.util.find_spec("feast") is not None
