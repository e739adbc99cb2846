"""An ingest killed at any moment leaves the old catalog or the new one, and runs again to the same result."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data.catalog import Catalog


def write_ticks(folder: Path, days: int) -> None:
    for day in range(5, 5 + days):
        generator = np.random.default_rng(day)
        stamps = np.sort(generator.integers(0, 86_400_000, 40_000))
        bids = 1.1 + np.cumsum(generator.integers(-1, 2, 40_000)) / 1e5
        path = folder / "oanda" / "tick" / "eurusd" / f"201405{day:02d}_quote.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            rows = "".join(f"{ms},{bid:.5f},{bid + 1e-4:.5f}\n" for ms, bid in zip(stamps, bids, strict=True))
            archive.writestr(f"201405{day:02d}_eurusd_tick_quote.csv", rows)


def start(workspace: Path, until: str) -> subprocess.Popen[bytes]:
    (workspace / "params.yaml").write_text(
        f"data: {{source: lean, path: ../in, instruments: [EUR_USD], granularity: M1, until: {until}}}\n"
    )
    return subprocess.Popen(
        [sys.executable, "-m", "data.stages", "ingest"],
        cwd=workspace,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(os.environ),
    )


@pytest.mark.heavy
def test_killed_at_any_moment(tmp_path: Path) -> None:
    write_ticks(tmp_path / "in", 4)
    digests = {}
    for until in ("2014-05-06", "2014-05-08"):
        clean = tmp_path / f"clean-{until}"
        clean.mkdir()
        began = time.monotonic()
        assert start(clean, until).wait(60) == 0
        seconds = time.monotonic() - began
        digests[until] = Catalog(clean / "data/raw/catalog").digest()
    workspace = tmp_path / "w"
    workspace.mkdir()
    assert start(workspace, "2014-05-06").wait(60) == 0
    catalog = Catalog(workspace / "data/raw/catalog")
    killed = 0
    for share in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        process = start(workspace, "2014-05-08")
        time.sleep(seconds * share)
        process.send_signal(signal.SIGKILL)
        killed += process.wait(60) == -signal.SIGKILL
        assert catalog.digest() in digests.values()
        catalog.verify()
    assert killed
    assert start(workspace, "2014-05-08").wait(60) == 0
    assert catalog.digest() == digests["2014-05-08"]
    left = [path for path in (workspace / "data/raw/catalog").rglob("*") if path.is_file()]
    assert len(left) == len(catalog.manifest().parts) + 1
