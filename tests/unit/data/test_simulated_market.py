"""Simulated bars: the same from the same file, with the momentum that was asked for, and said to be simulated."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from core.domain import default_instrument
from core.errors import BadInputError
from data.batch import Batch
from data.calendar import calendar_of
from data.sources import find_source
from data.sources.interface import LoadOptions

MARKET: dict[str, Any] = {
    "start": "2020-01-06",
    "end": "2022-01-03",
    "prices": {"EUR_USD": 1.1, "USD_JPY": 110.0},
    "seed": 4,
}


def load(folder: Path, names: tuple[str, ...] = ("EUR_USD",), since: int | None = None, **changed: Any) -> list[Batch]:
    path = folder / "market.yaml"
    path.write_text(yaml.safe_dump({**MARKET, **changed}))
    return list(find_source("simulation").load(path, names, since, None, LoadOptions()))


def memory(batch: Batch, before_ns: int | None = None, after_ns: int | None = None) -> float:
    """Correlation of a return with the mean of the six before it."""
    keep = np.ones(len(batch), bool)
    keep &= batch.event_ns < before_ns if before_ns else True
    keep &= batch.event_ns >= after_ns if after_ns else True
    moves = np.diff(np.log(batch.column("bid_close")[keep]))
    past = np.convolve(moves, np.ones(6) / 6.0, mode="valid")[:-1]
    return float(np.corrcoef(past, moves[6:])[0, 1])


def test_the_same_file_gives_the_same_bars_whatever_is_asked_for(tmp_path: Path) -> None:
    whole = load(tmp_path, ("EUR_USD", "USD_JPY"))
    since = int(whole[0].event_ns[5000])
    [part] = load(tmp_path, ("EUR_USD",), since)
    assert np.array_equal(part.values, whole[0].values[5000:], equal_nan=True)
    assert not np.array_equal(whole[0].values, load(tmp_path, seed=5)[0].values, equal_nan=True)


def test_bars_are_whole_inside_the_market_hours_and_called_simulated(tmp_path: Path) -> None:
    for batch in load(tmp_path, ("EUR_USD", "USD_JPY")):
        instrument = default_instrument(batch.instrument)
        assert calendar_of(instrument.kind).is_open(batch.open_ns).all()
        for side in ("bid", "ask"):
            low, high = batch.column(f"{side}_low"), batch.column(f"{side}_high")
            for price in (batch.column(f"{side}_open"), batch.column(f"{side}_close")):
                assert ((low <= price) & (price <= high)).all()
        assert (batch.column("ask_close") > batch.column("bid_close")).all()
        assert any("SIMULATED" in note for note in batch.notes)


def test_the_momentum_is_the_one_that_was_asked_for(tmp_path: Path) -> None:
    [none], [planted] = load(tmp_path), load(tmp_path, strength=0.25)
    assert abs(memory(none)) < 0.04
    assert memory(planted) > 0.12
    [turned] = load(tmp_path, strength=0.25, reversal="2021-01-04")
    middle = int(turned.event_ns[len(turned) // 2])
    assert memory(turned, before_ns=middle) > 0.1
    assert memory(turned, after_ns=middle) < -0.05


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"strength": 1.0}, "strength"),
        ({"arch": 0.5, "garch": 0.6}, "explodes"),
        ({"degrees_of_freedom": 2.0}, "no variance"),
        ({"prices": {}}, "at least one pair"),
        ({"granularity": "tick"}, "no length"),
        ({"start": "soon"}, "start"),
        ({"end": "2020-01-06"}, "not open"),
        ({"strenght": 0.1}, "strenght"),
    ],
)
def test_a_market_that_cannot_be(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        load(tmp_path, **changed)


def test_a_pair_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="has no AUD_USD; it has EUR_USD, USD_JPY"):
        load(tmp_path, ("AUD_USD",))
