"""Where the trial ledger is, under which lineage trials count, and how series and rows become bytes."""

from pathlib import Path

import numpy as np
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

import core.database.engine as database
from core.embedded.postgres import EmbeddedPostgres
from core.errors import IntegrityError
from core.settings import DatabaseSettings, Settings
from training.trials import TrialLedger, series
from training.trials.session import data_lineage, database_url
from training.trials.tables import REVISION


def test_the_ledger_is_the_configured_database_or_a_file_and_never_the_embedded_server(tmp_path: Path) -> None:
    def settings(url: str | None) -> Settings:
        place = DatabaseSettings(url=None if url is None else SecretStr(url))
        return Settings(state_directory=tmp_path, database=place)

    own = f"sqlite:///{tmp_path / 'trials' / 'trials.db'}"
    assert database_url(settings(None)) == own
    assert database_url(settings("postgresql+psycopg://db.example/tidegate")).endswith("db.example/tidegate")
    # `tidegate up` hands this one to its processes; a stage that DVC starts alone would not find it.
    assert database_url(settings(EmbeddedPostgres(tmp_path / "postgres").url)) == own


def test_a_longer_history_or_other_labels_are_further_looks_at_the_same_market() -> None:
    params = {"market": "fixings", "data": {"source": "ecb", "until": None}, "labels": {"horizon": 1}}
    assert data_lineage(params) == "fixings-ecb"
    assert (
        data_lineage(params | {"labels": {"horizon": 5}, "data": {"source": "ecb", "until": "2020"}}) == "fixings-ecb"
    )
    assert data_lineage({"market": "made-up", "data": {}}) == "made-up"


def test_the_newest_migration_is_the_one_that_opening_looks_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).with_name("migrations")))
    branch = ScriptDirectory.from_config(config).get_revisions("trials@head")
    assert [revision.revision for revision in branch if revision is not None] == [REVISION]


def test_the_password_of_the_database_is_shown_nowhere(tmp_path: Path) -> None:
    from core.errors import UnavailableError

    url = f"postgresql+psycopg://user:hunter2@/x?host={tmp_path}"
    with pytest.raises(UnavailableError) as caught:
        TrialLedger(url, patience_seconds=0.0)
    assert "hunter2" not in caught.value.message and "does not answer" in caught.value.message


@given(
    st.lists(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=30, unique=True), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_series_survive_packing_to_the_bit_and_align_as_a_dictionary_would(axes: list[list[int]], seed: int) -> None:
    generator = np.random.default_rng(seed)
    plain: list[dict[int, float]] = []
    back: list[tuple[series.Times, series.Returns]] = []
    for axis in axes:
        times = np.array(sorted(axis), np.int64)
        values = generator.normal(size=len(times)) * 10.0 ** generator.integers(-300, 300)
        packed = series.pack(values, times)
        again = series.unpack_axis(packed.axis, packed.axis_digest)
        returns = series.unpack_returns(packed.returns, packed.returns_digest, "x:1")
        assert again.tobytes() == times.tobytes() and returns.tobytes() == values.tobytes()
        plain.append(dict(zip(times.tolist(), values.tolist(), strict=True)))
        back.append((again, returns))
    common = sorted(set.intersection(*[set(one) for one in plain]))
    if common:
        times, matrix = series.align([axis for axis, _ in back], [values for _, values in back])
        assert times.tolist() == common
        assert matrix.tolist() == [[one[time] for one in plain] for time in common]


def test_damaged_bytes_are_named() -> None:
    packed = series.pack(np.ones(5), np.arange(5))
    with pytest.raises(IntegrityError, match="damaged"):
        series.unpack_returns(packed.returns[:-3], packed.returns_digest, "m:7")
    with pytest.raises(IntegrityError, match="m:7 was changed"):
        series.unpack_returns(packed.returns, "0" * 64, "m:7")
