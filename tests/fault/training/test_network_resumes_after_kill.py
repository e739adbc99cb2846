"""A network's fit that was killed goes on from its last epoch and ends with the bytes of one that was not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from network_fit_process import EPOCHS, made_data, model

from core.digest import digest_bytes
from training.models import graph
from training.models.networks import fitting
from training.models.networks.forecaster import NetworkForecaster

pytestmark = pytest.mark.heavy


def digest_of(fitted: NetworkForecaster) -> str:
    return digest_bytes(graph.to_bytes(fitted.graph()))


@pytest.fixture
def epochs_run(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs that are trained from here on, as they begin."""
    begun: list[int] = []

    def note(module: fitting.Fitting) -> None:
        begun.append(module.current_epoch)

    monkeypatch.setattr(fitting.Fitting, "on_train_epoch_start", note)
    return begun


def test_a_killed_process_loses_no_finished_epoch(tmp_path: Path, epochs_run: list[int]) -> None:
    program = Path(__file__).with_name("network_fit_process.py")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, str(program), str(tmp_path)], env=environment)
    try:
        while not list(tmp_path.glob("*/epoch.ckpt")):
            assert process.poll() is None, "it ended without a checkpoint"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list(tmp_path.glob("*/epoch.ckpt"))) == 1, "it was done before it was killed"
    resumed = model(tmp_path)
    resumed.fit(made_data())
    assert epochs_run and epochs_run[0] >= 1 and epochs_run[-1] == EPOCHS - 1
    assert not list(tmp_path.iterdir()), "the checkpoint outlives the fit"
    whole = model(None)
    whole.fit(made_data())
    assert digest_of(resumed) == digest_of(whole)
    assert resumed.fitted() == whole.fitted()


class EndedError(Exception):
    """The process ends here."""


def ending_after(epoch: int, moment: Callable[[fitting.Fitting], None]) -> Callable[[fitting.Fitting], None]:
    def hook(module: fitting.Fitting) -> None:
        moment(module)
        if module.current_epoch == epoch:
            raise EndedError

    return hook


def test_wherever_it_ends_the_result_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Early stopping included: after the last epoch there is nothing left to train."""
    data = made_data(600)

    def fresh(folder: Path | None) -> NetworkForecaster:
        return model(folder, patience=1, epochs=10, learning_rate=0.05)

    whole = fresh(None)
    whole.fit(data)
    stopped_at = int(whole.fitted()["epochs"])  # one epoch without a better one follows the best
    assert stopped_at < 9, "the fit is to end by early stopping"
    for epoch in range(stopped_at + 1):
        folder = tmp_path / str(epoch)
        with monkeypatch.context() as patch:
            patch.setattr(
                fitting.Fitting, "on_train_epoch_end", ending_after(epoch, fitting.Fitting.on_train_epoch_end)
            )
            with pytest.raises(EndedError):
                fresh(folder).fit(data)
        resumed = fresh(folder)
        resumed.fit(data)
        assert digest_of(resumed) == digest_of(whole), epoch
        assert resumed.fitted() == whole.fitted(), epoch


def test_a_checkpoint_of_another_fit_or_a_damaged_one_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, epochs_run: list[int]
) -> None:
    data, other = made_data(900), made_data(960)

    def stop_after_two(rows: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(fitting.Fitting, "on_train_epoch_end", ending_after(1, fitting.Fitting.on_train_epoch_end))
            with pytest.raises(EndedError):
                model(tmp_path).fit(rows)

    stop_after_two(data)
    epochs_run.clear()
    model(tmp_path).fit(other)
    assert epochs_run[0] == 0
    (checkpoint,) = tmp_path.glob("*/epoch.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    epochs_run.clear()
    model(tmp_path).fit(data)
    assert epochs_run[0] == 0
    assert "is damaged" in caplog.text
