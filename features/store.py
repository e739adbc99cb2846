"""The feature store of a workspace: Feast with our ASOF offline store and an online store that keeps the newest.

Feast takes seconds to import; nothing here does so before a function is called.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from core.errors import BadInputError, ConfigurationError, UnavailableError
from core.files import read_json
from features.sets import FeatureSet

if TYPE_CHECKING:
    import pandas as pd
    from feast import FeatureStore

PROJECT = "tidegate"
FEAST_FOLDER = Path("data/processed/feast")
FEATURES_JSON = Path("data/processed/features/features.json")


@dataclass(frozen=True)
class OnlineRow:
    """An instrument's newest feature row in the online store.

    Attributes:
        instrument: its name.
        time_ns: the row's event time; 0 where there is no row.
        values: float64 [F] in the order of the set, NaN where there is no value.
        stale: there is no row, or it is older than the set's time to live.
    """

    instrument: str
    time_ns: int
    values: NDArray[np.float64]
    stale: bool


def open_store(workspace: Path, online_url: str | None = None) -> "FeatureStore":
    """Open the feature store of a workspace.

    Args:
        workspace: folder with ``params.yaml``; registry and online file live under ``data/processed/feast``.
        online_url: ``redis://[:password@]host:port[/database]``; None: a SQLite file in the workspace.

    Raises:
        ConfigurationError: the URL is no Redis URL.
    """
    # Feast reports usage home unless told not to before it is imported.
    os.environ.setdefault("FEAST_USAGE", "False")
    from feast import FeatureStore
    from feast.repo_config import RepoConfig

    workspace = workspace.absolute()
    folder = workspace / FEAST_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if online_url is None:
        online: dict[str, Any] = {
            "type": "features.online_store.NewestSqliteOnlineStore",
            "path": str(folder / "online.db"),
        }
    else:
        online = {
            "type": "features.online_store.NewestRedisOnlineStore",
            "connection_string": redis_connection(online_url),
        }
    configuration = RepoConfig(
        project=PROJECT,
        provider="local",
        registry=cast(
            Any,
            {
                # A SQL registry: several processes apply and read, and only it honours the flag below.
                "registry_type": "sql",
                "path": f"sqlite:///{folder / 'registry.db'}",
                "serve_features_while_materializing": True,
            },
        ),
        offline_store={"type": "features.offline_store.AsofOfflineStore"},
        online_store=online,
        entity_key_serialization_version=3,
        repo_path=workspace,
    )
    return FeatureStore(config=configuration)


def redis_connection(url: str) -> str:
    """Return a Redis URL in Feast's own notation, ``host:port,db=0,password=…``.

    Raises:
        ConfigurationError: it is no Redis URL. The message never shows it: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ConfigurationError("the online store's URL is no Redis URL: write redis://host:port/0")
    options = [f"{parts.hostname}:{port}", f"db={parts.path.strip('/') or 0}"]
    if parts.username:
        options.append(f"username={unquote(parts.username)}")
    if parts.password:
        password = unquote(parts.password)
        if "," in password:
            raise ConfigurationError("the online store's password holds a comma, which Feast cannot take: change it")
        # In quotes: Feast parses option values as JSON and would turn a numeric password into a number.
        options.append(
            f'password="{password}"' if '"' not in password and "\\" not in password else f"password={password}"
        )
    if parts.scheme == "rediss":
        options.append("ssl=true")
    return ",".join(options)


def apply(store: "FeatureStore", definition: FeatureSet) -> None:
    """Register a set's entity, sources, view and pinned service. Unchanged definitions change nothing."""
    from feast.errors import FeastObjectNotFoundException

    from features.feast_repository.definitions import DIGEST_TAG, objects

    try:
        standing = (store.get_feature_service(definition.service), store.get_feature_view(definition.service))
        if all(item.tags.get(DIGEST_TAG) == definition.digest for item in standing):
            return
    except FeastObjectNotFoundException:
        pass
    store.apply(objects(definition))


def historical_features(workspace: Path, entity_frame: "pd.DataFrame", definition: FeatureSet) -> "pd.DataFrame":
    """Return the features that were known at each entity row's moment, from the pinned feature service.

    Args:
        workspace: the workspace whose features stage has run.
        entity_frame: columns ``instrument`` and ``event_timestamp`` (UTC, the moment of the decision), R rows.
        definition: the feature set.

    Returns:
        the R rows in the order given, duplicates kept, with the set's columns; NaN where nothing was known.

    Raises:
        BadInputError: a column is missing, or the features stage has not run with this definition.
    """
    missing = [name for name in ("instrument", "event_timestamp") if name not in entity_frame.columns]
    if missing:
        raise BadInputError(f"the entity frame has no column {missing[0]}")
    check_built(workspace, definition)
    store = open_store(workspace)
    apply(store, definition)
    service = store.get_feature_service(definition.service)
    asked = entity_frame.loc[:, ["instrument", "event_timestamp"]]
    job = store.get_historical_features(entity_df=asked, features=service, filter_by_created_timestamp=True)
    return job.to_df().loc[:, ["instrument", "event_timestamp", *definition.columns]]


def check_built(workspace: Path, definition: FeatureSet) -> None:
    """Make sure that the features stage has run with this definition.

    Raises:
        BadInputError: it has not, or with another.
    """
    try:
        built = read_json(workspace / FEATURES_JSON)
    except FileNotFoundError:
        raise BadInputError(f"{workspace / FEATURES_JSON} not found: run the features stage first") from None
    if built.get("digest") != definition.digest:
        raise BadInputError(
            f"{workspace / FEATURES_JSON} is of {built.get('set')} {str(built.get('digest'))[:12]}, asked for "
            f"{definition.name} {definition.digest[:12]}: run the features stage again"
        )


def online_features(
    store: "FeatureStore", definition: FeatureSet, instruments: Sequence[str], now_ns: int | None = None
) -> list[OnlineRow]:
    """Return each instrument's newest row in the online store, in the order asked, and say which are stale.

    Feast does not say that a value is past its time to live: the age is judged here against ``now_ns`` (the machine's
    clock when None).

    Raises:
        UnavailableError: the online store does not answer.
    """
    if not instruments:
        return []
    service = store.get_feature_service(definition.service)
    try:
        response = store.get_online_features(
            features=service, entity_rows=[{"instrument": name} for name in instruments]
        )
    except (OSError, _redis_error()) as error:
        raise UnavailableError(f"the online feature store does not answer: {error}") from error
    now = time.time_ns() if now_ns is None else now_ns
    proto = response.proto
    names = list(proto.metadata.feature_names.val)
    position = {name: names.index(name) for name in definition.columns}
    rows: list[OnlineRow] = []
    for index, instrument in enumerate(instruments):
        values = np.full(len(definition.columns), np.nan)
        moment = 0
        for place, column in enumerate(definition.columns):
            vector = proto.results[position[column]]
            value = vector.values[index]
            if value.WhichOneof("val") == "double_val":
                values[place] = value.double_val
                moment = max(moment, vector.event_timestamps[index].ToNanoseconds())
        stale = moment == 0 or now - moment > definition.time_to_live_seconds * 1_000_000_000
        rows.append(OnlineRow(instrument, moment, values, stale))
    return rows


def _redis_error() -> type[Exception]:
    """The client's error type, without asking for the client where the online store is a file."""
    import importlib.util

    if importlib.util.find_spec("redis") is None:
        return OSError
    from redis.exceptions import RedisError

    return RedisError
