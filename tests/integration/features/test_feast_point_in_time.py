"""The point-in-time join through Feast against pandas and against a literal reading of the definition."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BadInputError, UnavailableError, UsageError
from core.files import write_json
from features.asof import Limits, Source, asof_join
from features.feast_repository.definitions import FEATURES_FILE
from features.sets import feature_set
from features.store import FEATURES_JSON, apply, historical_features, open_store

DEFINITION = feature_set("fixings")
START = pd.Timestamp("2024-01-01", tz="UTC")
NAMES = ("EUR_USD", "GBP_USD", "USD_JPY")


def feature_rows(events: list[int], delays: list[int], names: list[int], seed: int = 0) -> pd.DataFrame:
    """Rows at minute ``events``, known ``delays`` minutes later; values are unlike each other."""
    values = np.random.default_rng(seed).normal(size=(len(events), len(DEFINITION.columns)))
    event = START + pd.to_timedelta(np.array(events, dtype=np.int64), unit="min")
    frame = pd.DataFrame(values, columns=list(DEFINITION.columns))
    frame.insert(0, "instrument", [NAMES[index] for index in names])
    frame.insert(1, "event_timestamp", event.astype("datetime64[us, UTC]"))
    created = event + pd.to_timedelta(np.array(delays, dtype=np.int64), unit="min")
    frame.insert(2, "created_timestamp", created.astype("datetime64[us, UTC]"))
    return frame


def make_workspace(folder: Path, rows: pd.DataFrame) -> Path:
    path = folder / FEATURES_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(path, index=False)
    described = {"digest": DEFINITION.digest, "set": DEFINITION.name, "instruments": list(NAMES)}
    write_json(folder / FEATURES_JSON, described)
    return folder


def literal_answer(rows: pd.DataFrame, name: str, moment: pd.Timestamp, known_by_then: bool, lifetime: Any) -> Any:
    """The definition, word by word, for one entity row."""
    found = rows[(rows["instrument"] == name) & (rows["event_timestamp"] <= moment)]
    if known_by_then:
        found = found[found["created_timestamp"] <= moment]
    if not len(found):
        return None
    best = found.sort_values(["event_timestamp", "created_timestamp"], kind="stable").iloc[-1]
    return None if lifetime and best["event_timestamp"] < moment - lifetime else best


minutes = st.integers(0, 300)
row = st.tuples(minutes, st.integers(0, 90), st.integers(0, 2))


@settings(max_examples=40)
@given(st.lists(row, min_size=1, max_size=40), st.lists(st.tuples(st.integers(0, 2), minutes), max_size=30),
       st.booleans(), st.sampled_from([0, 60]))  # fmt: skip
def test_join_is_the_definition(
    tmp_path: Path, stored: list[tuple[int, int, int]], asked: list[tuple[int, int]], known: bool, lifetime: int
) -> None:
    import pyarrow as pa

    rows = feature_rows([item[0] for item in stored], [item[1] for item in stored], [item[2] for item in stored])
    rows = rows.drop_duplicates(["instrument", "event_timestamp", "created_timestamp"], keep="last")
    path = tmp_path / "features.parquet"
    rows.to_parquet(path, index=False)
    source = Source(path, ("instrument",), "event_timestamp", "created_timestamp", ("return_1",), lifetime * 60)
    questions = pa.table({"pair": pa.array([NAMES[index] for index, _ in asked], pa.string())})
    moments = [START + pd.Timedelta(minutes=minute) for _, minute in asked]
    ticks = pa.array([int(moment.value) // 1000 for moment in moments], pa.int64())
    answer = asof_join(questions, ticks, ["pair"], source, known)["return_1"].to_pylist()
    assert len(answer) == len(asked)
    for value, (index, _), moment in zip(answer, asked, moments, strict=True):
        best = literal_answer(rows, NAMES[index], moment, known, timedelta(minutes=lifetime))
        assert value == (None if best is None else best["return_1"])


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """Daily rows over a year with gaps longer than the time to live, without corrections."""
    generator = np.random.default_rng(3)
    events, names = [], []
    for index in range(3):
        days = np.flatnonzero(generator.random(400) < 0.5)
        days = days[(days < 100 + 20 * index) | (days > 130 + 20 * index)]
        events += [int(day) * 1440 + index for day in days]
        names += [index] * len(days)
    rows = feature_rows(events, [105] * len(events), names)
    return make_workspace(tmp_path_factory.mktemp("market"), rows), rows


def entity_rows(count: int, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    moments = START + pd.to_timedelta(generator.integers(-1440, 420 * 1440, count), unit="min")
    frame = pd.DataFrame(
        {"instrument": [NAMES[index] for index in generator.integers(0, 3, count)], "event_timestamp": moments}
    )
    return pd.concat([frame, frame.iloc[: count // 5]], ignore_index=True)  # duplicates


def test_feast_agrees_with_merge_asof(market: tuple[Path, pd.DataFrame]) -> None:
    workspace, rows = market
    asked = entity_rows(3_000, 4)
    joined = historical_features(workspace, asked, DEFINITION)
    # Without corrections and with one delay for all, "known by then" is an ASOF join on the arrival time.
    numbered = asked.assign(row=range(len(asked))).astype({"event_timestamp": "datetime64[us, UTC]"})
    expected = pd.merge_asof(
        numbered.sort_values("event_timestamp", kind="stable"),
        rows.rename(columns={"event_timestamp": "about", "created_timestamp": "event_timestamp"}).sort_values(
            "event_timestamp"
        ),
        on="event_timestamp",
        by="instrument",
    ).sort_values("row")
    lifetime = pd.Timedelta(seconds=DEFINITION.time_to_live_seconds)
    old = expected["about"] < expected["event_timestamp"] - lifetime
    expected.loc[old, list(DEFINITION.columns)] = np.nan
    assert old.sum() > 50
    assert list(joined["instrument"]) == list(asked["instrument"])
    assert (joined["event_timestamp"].to_numpy() == asked["event_timestamp"].to_numpy()).all()
    np.testing.assert_array_equal(
        joined[list(DEFINITION.columns)].to_numpy(), expected[list(DEFINITION.columns)].to_numpy()
    )


def test_a_later_correction_is_not_seen_earlier(tmp_path: Path) -> None:
    # about minute 0, known at 10; corrected at 60; a second event at 30, known at 40
    rows = feature_rows([0, 0, 30], [10, 60, 10], [0, 0, 0])
    workspace = make_workspace(tmp_path, rows)
    asked = pd.DataFrame(
        {
            "instrument": ["EUR_USD"] * 5,
            "event_timestamp": [START + pd.Timedelta(minutes=minute) for minute in (5, 10, 39, 40, 90)],
        }
    )
    seen = historical_features(workspace, asked, DEFINITION)["return_1"].to_numpy()
    values = rows["return_1"].to_numpy()
    np.testing.assert_array_equal(seen, [np.nan, values[0], values[0], values[2], values[2]])
    store = open_store(workspace)
    leaky = store.get_historical_features(entity_df=asked, features=store.get_feature_service(DEFINITION.service))
    # Without the filter both the correction and the second event leak into the past.
    np.testing.assert_array_equal(leaky.to_df()["return_1"].to_numpy()[:3], [values[1], values[1], values[2]])


def test_latest_correction_wins_once_it_is_known(tmp_path: Path) -> None:
    rows = feature_rows([0, 0, 0], [30, 10, 20], [0, 0, 0])
    workspace = make_workspace(tmp_path, rows)
    moments = [START + pd.Timedelta(minutes=minute) for minute in (30, 10, 20, 5)]
    asked = pd.DataFrame({"instrument": ["EUR_USD"] * 4, "event_timestamp": moments})
    seen = historical_features(workspace, asked, DEFINITION)["return_1"].to_numpy()
    values = rows["return_1"].to_numpy()
    np.testing.assert_array_equal(seen, [values[0], values[1], values[2], np.nan])


def test_microseconds_and_nanoseconds_ask_the_same(market: tuple[Path, pd.DataFrame]) -> None:
    workspace, _ = market
    asked = entity_rows(50, 9)
    coarse = asked.astype({"event_timestamp": "datetime64[us, UTC]"})
    left, right = (historical_features(workspace, frame, DEFINITION) for frame in (asked, coarse))
    np.testing.assert_array_equal(left.iloc[:, 2:].to_numpy(), right.iloc[:, 2:].to_numpy())


def test_unknown_instrument_and_empty_question(market: tuple[Path, pd.DataFrame]) -> None:
    workspace, _ = market
    moment = START + pd.Timedelta(days=50)
    asked = pd.DataFrame({"instrument": ["AUD_NZD"], "event_timestamp": [moment]})
    assert historical_features(workspace, asked, DEFINITION).iloc[:, 2:].isna().all(axis=None)
    assert len(historical_features(workspace, asked.iloc[:0], DEFINITION)) == 0


def test_pull_latest_and_pull_all(tmp_path: Path) -> None:
    rows = feature_rows([0, 30, 30, 60], [0, 5, 50, 0], [0, 0, 0, 1])
    store = open_store(make_workspace(tmp_path, rows))
    apply(store, DEFINITION)
    view = store.get_feature_view(DEFINITION.service)
    offline: Any = store._get_provider().offline_store
    arguments: dict[str, Any] = {
        "config": store.config,
        "data_source": view.batch_source,
        "join_key_columns": ["instrument"],
        "feature_name_columns": ["return_1"],
        "timestamp_field": "event_timestamp",
        "created_timestamp_column": "created_timestamp",
        "start_date": START.to_pydatetime(),
        "end_date": (START + pd.Timedelta(minutes=45)).to_pydatetime(),
    }
    latest = offline.pull_latest_from_table_or_query(**arguments).to_df()
    assert list(latest["return_1"]) == [rows["return_1"][2]]
    assert sorted(offline.pull_all_from_table_or_query(**arguments).to_df()["return_1"]) == sorted(rows["return_1"][:3])


def test_feast_materialize_works_with_this_store(tmp_path: Path) -> None:
    rows = feature_rows([0, 30, 60], [0, 0, 0], [0, 0, 1])
    store = open_store(make_workspace(tmp_path, rows))
    apply(store, DEFINITION)
    store.materialize(START.to_pydatetime(), (START + pd.Timedelta(minutes=90)).to_pydatetime(), [DEFINITION.service])
    answer = store.get_online_features(
        features=[f"{DEFINITION.service}:return_1"], entity_rows=[{"instrument": name} for name in NAMES]
    ).to_dict()
    assert answer["return_1"] == [rows["return_1"][1], rows["return_1"][2], None]


def test_offline_write_appends(tmp_path: Path) -> None:
    rows = feature_rows([0], [0], [0])
    store = open_store(make_workspace(tmp_path, rows))
    apply(store, DEFINITION)
    added = feature_rows([10], [0], [1], seed=8)
    store.write_to_offline_store(DEFINITION.service, added)
    stored = pd.read_parquet(tmp_path / FEATURES_FILE)
    assert list(stored["return_1"]) == [rows["return_1"][0], added["return_1"][0]]


def test_clear_refusals(market: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    workspace, _ = market
    asked = entity_rows(5, 1)
    with pytest.raises(BadInputError, match="event_timestamp"):
        historical_features(workspace, asked[["instrument"]], DEFINITION)
    with pytest.raises(BadInputError, match="run the features stage first"):
        historical_features(tmp_path, asked, DEFINITION)
    with pytest.raises(BadInputError, match="run the features stage again"):
        historical_features(workspace, asked, feature_set("bars"))
    store = open_store(workspace)
    apply(store, DEFINITION)
    service = store.get_feature_service(DEFINITION.service)
    with pytest.raises(UsageError, match="pandas frame"):
        store.get_historical_features(entity_df="SELECT 1", features=service)
    with pytest.raises(BadInputError, match="instrument"):
        store.get_historical_features(entity_df=asked.drop(columns="instrument"), features=service).to_df()


def test_limits_end_a_query_with_a_clear_line(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    count = 400_000
    path = tmp_path / "big.parquet"
    time = pa.array(np.arange(count)).cast(pa.timestamp("us", tz="UTC"))
    wide = {f"column_{index}": np.random.default_rng(index).random(count) for index in range(8)}
    pq.write_table(pa.table({"key": ["a"] * count, "event": time} | wide), path)
    source = Source(path, ("key",), "event", None, tuple(wide))
    questions = pa.table({"key": ["a"] * count})
    with pytest.raises(UnavailableError, match="raise the limits"):
        asof_join(questions, pa.array(np.arange(count)), ["key"], source, False, Limits("20MB", "1MB", 1))
