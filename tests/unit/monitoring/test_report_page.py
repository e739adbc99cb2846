"""The run report renders from plain values, escapes them, and says what failed in plain sight."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from monitoring.report.page import write_page
from monitoring.report.summary import (
    ChartData,
    Curve,
    Difference,
    HopLatency,
    ModelSkill,
    RunSummary,
    StageRecord,
    Trading,
)


def _curve(seed: int, start: float) -> Curve:
    steps = np.random.default_rng(seed).standard_normal(60) * 0.002
    times = [f"2026-0{1 + i // 28}-{1 + i % 28:02d}T13:15:00Z" for i in range(60)]
    return Curve(times, [float(v) for v in start * np.exp(np.cumsum(steps))])


def _summary(**changes: object) -> RunSummary:
    learnt = ModelSkill("xgboost", False, 0.69, 0.001, -0.001, 0.003, 0.4, 0.512, 0.004, 0.3, -1.0, 1.0)
    rule = {"rule": "skill", "passed": False, "value": -0.001, "limit": 0.0, "words": "<b>no</b>"}
    base = RunSummary(
        market="fixings",
        instruments=["EUR_USD", "USD_JPY"],
        started="2026-11-21 08:00:00 UTC",
        seconds=212.0,
        simulated=["ticks between two fixings"],
        stages=[StageRecord("ingest", "Ingest", 4.2, "62,000 rows", {"quality": "quality.html"})],
        quality={"score": 0.998, "rows_in": 100, "rows_kept": 99, "rows_quarantined": 1},
        models=[
            learnt,
            ModelSkill("flat", True, None, None, None, None, None, None, 0.0, None, None, None, "never trades"),
        ],
        verdict={"passed": False, "rules": [rule]},
        let_through="It trades on paper.",
        registered={"name": "tidegate-fixings", "version": "1", "digest": "ab" * 32},
        trading=Trading(
            "s", "2026-01-01", "2026-10-30", 500, {"serve": 500}, 120, 118, 2, {"SPREAD": 1}, 0.52, 26, 50,
            -123.45, -100.0, -23.45, {"spread": 80.0, "slippage": 4.0}, 100_000.0, 99_876.55, 0.012, "USD", 31.0,
        ),
        latencies=[HopLatency("prediction", 250, 1.0, 2.0, 4.0)],
        reconciliation=[Difference("EUR_USD units", "100", "100", True)],
        parity={"equal": True, "words": "bit for bit"},
        replay={"equal": True, "words": "byte for byte"},
        drift={"drifted": False, "share_drifted": 0.1, "words": "no drift", "features": [
            {"feature": "momentum_21", "index": 0.1, "threshold": 0.2, "drifted": False}]},
        digests={"model": "ab" * 32},
        memory_peak_mb=3200.0,
        reports={"quality": "quality.html", "drift": "drift.html"},
        next_steps=["tidegate up"],
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def _charts() -> ChartData:
    return ChartData(
        equity=_curve(1, 100_000.0),
        out_of_sample_equity={"xgboost": _curve(2, 1.0)},
        calibration={"xgboost": [[0.45, 0.46, 10], [0.55, 0.54, 20]]},
        prices={"EUR_USD": _curve(3, 1.1)},
        trades={"EUR_USD": [["2026-01-03T13:15:00Z", "1.1", "1000", "MARKET_ORDER"]]},
        exposure=_curve(4, 1.0),
        images={},
    )


def test_the_page_stands_alone_and_escapes_values(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_page(_summary(), _charts(), path)
    text = path.read_text().replace(get_plotlyjs(), "")
    assert "<b>no</b>" not in text and "&lt;b&gt;no&lt;/b&gt;" in text
    assert 'src="http' not in text and 'href="http' not in text
    assert "did not find enough evidence" in text
    assert "-123.45 USD" in text and "to the unit" in text
    assert ">nan" not in text.lower() and " nan" not in text.lower()


@pytest.mark.parametrize("equal", [True, False])
def test_a_difference_to_the_broker_cannot_be_overlooked(tmp_path: Path, equal: bool) -> None:
    path = tmp_path / "report.html"
    write_page(_summary(reconciliation=[Difference("balance", "1.00", "1.01", equal)]), _charts(), path)
    assert ("DIFFERENCES" in path.read_text()) is not equal


def test_the_summary_is_plain_json() -> None:
    summary = _summary()
    assert msgspec.json.decode(msgspec.json.encode(summary), type=RunSummary) == summary
