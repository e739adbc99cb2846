"""State files, the live driver's refusals, and where machine code is kept."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from core.errors import BadInputError, IntegrityError
from features.batch import compute
from features.bench import made_panel
from features.kernel import compilation
from features.live import LiveFeatures
from features.sets import feature_set
from features.state import KernelState

NAMES = ("EUR_USD", "USD_JPY")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    _, state = compute(made_panel(90, NAMES), feature_set("fixings"))
    state.save(tmp_path / "state.npz")
    return tmp_path / "state.npz"


def test_same_state_same_bytes(saved: Path) -> None:
    again = saved.with_name("again.npz")
    KernelState.load(saved).save(again)
    assert again.read_bytes() == saved.read_bytes()


def test_restore_needs_no_definition(saved: Path) -> None:
    live = LiveFeatures.restore(saved, 20)
    assert live.instruments == NAMES
    assert live.feature_set == feature_set("fixings")
    assert live.windows().shape == (2, 20, len(feature_set("fixings").columns))
    assert live.windows().dtype == np.float32
    assert list(live.rows_seen) == [90, 90]


def test_other_definition_is_refused(saved: Path) -> None:
    with pytest.raises(IntegrityError, match="made by fixings"):
        LiveFeatures.restore(saved, 1, feature_set("bars"))


def test_other_instruments_are_refused(saved: Path) -> None:
    with pytest.raises(IntegrityError, match="EUR_USD, USD_JPY"):
        LiveFeatures.restore(saved, 1, feature_set("fixings"), ("EUR_USD",))


def test_state_of_older_code_is_refused(saved: Path) -> None:
    content = dict(np.load(saved))
    content["feature_digest"] = np.str_("0" * 64)
    np.savez(saved, **content)
    with pytest.raises(IntegrityError, match="000000000000"):
        LiveFeatures.restore(saved, 1)


def test_damaged_arrays_are_refused(saved: Path) -> None:
    content = dict(np.load(saved))
    content["floats"] = content["floats"][:, :-1]
    np.savez(saved, **content)
    with pytest.raises(IntegrityError, match="another shape"):
        LiveFeatures.restore(saved, 1)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_file_is_one_clear_line(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BadInputError, match="no feature state"):
        LiveFeatures.restore(saved, 1)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="run the features stage"):
        LiveFeatures.restore(tmp_path / "none.npz", 1)


@pytest.mark.parametrize("names", [(), ("USD_JPY", "EUR_USD"), ("EUR_USD", "EUR_USD"), ("EURUSD",)])
def test_bad_instruments(names: tuple[str, ...]) -> None:
    with pytest.raises(BadInputError):
        LiveFeatures(feature_set("bars"), names, 1)


@pytest.mark.parametrize("window", [0, 65])
def test_window_out_of_range(window: int) -> None:
    with pytest.raises(BadInputError, match="between 1 and 64"):
        LiveFeatures(feature_set("bars"), NAMES, window)


def test_time_cannot_go_back(saved: Path) -> None:
    live = LiveFeatures.restore(saved, 1)
    rows = np.full((2, 9), 1.1)
    with pytest.raises(BadInputError, match="cannot go back"):
        live.update(live.time_ns, rows)
    live.update(live.time_ns + 1, rows)
    assert list(live.rows_seen) == [91, 91]


def test_wrong_shape_changes_nothing(saved: Path) -> None:
    live = LiveFeatures.restore(saved, 1)
    with pytest.raises(BadInputError, match="shape"):
        live.update(live.time_ns + 1, np.full((3, 9), 1.1))
    assert list(live.rows_seen) == [90, 90]


def test_batch_refuses_a_foreign_state() -> None:
    panel = made_panel(20, NAMES)
    _, state = compute(panel, feature_set("fixings"))
    with pytest.raises(IntegrityError, match="cannot go on"):
        compute(panel, feature_set("bars"), state)
    with pytest.raises(BadInputError, match="not later"):
        compute(panel, feature_set("fixings"), state)


def test_batch_leaves_the_given_state_alone() -> None:
    panel = made_panel(40, NAMES)
    _, state = compute(panel.between(0, int(panel.time_ns[20])), feature_set("bars"))
    before = state.copy()
    compute(panel.between(int(panel.time_ns[20]), 2**62), feature_set("bars"), state)
    np.testing.assert_array_equal(state.floats, before.floats)
    np.testing.assert_array_equal(state.counters, before.counters)
    assert state.time_ns == before.time_ns


def test_inputs_are_not_changed_and_may_be_read_only() -> None:
    panel = made_panel(40, NAMES)
    panel.values.setflags(write=False)
    strided = panel.values[:, ::-1][:, ::-1]
    compute(panel, feature_set("bars"))
    live = LiveFeatures(feature_set("bars"), NAMES, 1)
    live.update(1, strided[0])


def test_machine_code_folder_follows_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compilation.cache_directory.cache_clear()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "chosen"))
    try:
        chosen = compilation.cache_directory()
        assert chosen is not None and chosen.parent == tmp_path / "chosen"
    finally:
        compilation.cache_directory.cache_clear()


def test_unusable_folders_are_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A read-only installation: the next folder is taken; a folder of another user never is."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(blocked))
    monkeypatch.setattr(compilation, "__file__", str(blocked / "compilation.py"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    compilation.cache_directory.cache_clear()
    try:
        chosen = compilation.cache_directory()
        assert chosen is not None and chosen.is_relative_to(tmp_path / "home")
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "expanduser", homeless)
        compilation.cache_directory.cache_clear()
        private = compilation.cache_directory()
        assert private is not None and private.is_relative_to(tmp_path / "temporary")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
        owner = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: owner + 1)
        compilation.cache_directory.cache_clear()
        assert compilation.cache_directory() is None
    finally:
        compilation.cache_directory.cache_clear()


def homeless(_: Path) -> Path:
    raise RuntimeError("Could not determine home directory.")
