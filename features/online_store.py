"""Feast's online stores with one rule added: a row is replaced only by a newer one.

Newer means a later event time, or the same event corrected: a later created time. Feast's Redis store refuses the
correction of the newest event; its SQLite store lets an old row overwrite a new one. Here the comparison happens inside
the store (a Lua script, an upsert condition), so that a pusher and a materialisation may run at the same time.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

from feast.feature_view import FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import (
    _mmh3,  # pyright: ignore[reportPrivateUsage] # the field names Feast's own reads use
    _redis_key,  # pyright: ignore[reportPrivateUsage] # the key Feast's own reads use
)
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.repo_config import RepoConfig
from google.protobuf.timestamp_pb2 import Timestamp
from redis.backoff import NoBackoff
from redis.retry import Retry

Row = tuple[Any, dict[str, Any], datetime, datetime | None]
Progress = Callable[[int], Any] | None

# KEYS: the entity's hash. ARGV: field of the version, version as sortable text, then field and value pairs.
_WRITE_IF_NEWER = """
local standing = redis.call('HGET', KEYS[1], ARGV[1])
if standing and standing >= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""


class NewestRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """As Feast's Redis store."""

    type: Literal["features.online_store.NewestRedisOnlineStore"] = "features.online_store.NewestRedisOnlineStore"  # pyright: ignore[reportIncompatibleVariableOverride] # Feast's own stores narrow it the same way


class NewestRedisOnlineStore(RedisOnlineStore):
    """Redis, written by compare-and-set on (event time, created time)."""

    def _get_client(self, online_store_config: RedisOnlineStoreConfig) -> Any:
        """Return Feast's client, told to give up after one more try: a reader wants to know, not to wait for long."""
        client: Any = super()._get_client(online_store_config)
        client.set_retry(Retry(NoBackoff(), 1))
        return client

    def online_write_batch(self, config: RepoConfig, table: FeatureView, data: list[Row], progress: Progress) -> None:
        """Write the rows that are newer than what stands; ``progress`` is told how many were."""
        client: Any = self._get_client(cast(RedisOnlineStoreConfig, config.online_store))
        view = table.name
        with client.pipeline(transaction=False) as pipeline:
            for entity_key, values, event, created in data:
                key = _redis_key(
                    config.project,
                    entity_key,
                    entity_key_serialization_version=config.entity_key_serialization_version,
                )
                stamp = Timestamp()
                stamp.FromDatetime(_aware(event))
                arguments: list[Any] = [f"_version:{view}", _version(event, created)]
                arguments += [f"_ts:{view}", stamp.SerializeToString()]
                for feature, value in values.items():
                    arguments += [_mmh3(f"{view}:{feature}"), value.SerializeToString()]
                pipeline.eval(_WRITE_IF_NEWER, 1, key, *arguments)
            written = sum(int(reply) for reply in pipeline.execute())
        if progress:
            progress(written)


class NewestSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """As Feast's SQLite store."""

    type: Literal["features.online_store.NewestSqliteOnlineStore"] = "features.online_store.NewestSqliteOnlineStore"  # pyright: ignore[reportIncompatibleVariableOverride] # Feast's own stores narrow it the same way


class NewestSqliteOnlineStore(SqliteOnlineStore):
    """SQLite, written by a conditional upsert on (event time, created time)."""

    _lock = threading.Lock()

    def online_write_batch(self, config: RepoConfig, table: FeatureView, data: list[Row], progress: Progress) -> None:
        """Write the rows that are newer than what stands; ``progress`` is told how many were."""
        connection = self._get_conn(config)
        name = '"' + f"{config.project}_{table.name}".replace('"', '""') + '"'
        statement = (
            f"INSERT INTO {name} (entity_key, feature_name, value, event_ts, created_ts) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (entity_key, feature_name) DO UPDATE SET value = excluded.value, "
            "event_ts = excluded.event_ts, created_ts = excluded.created_ts "
            "WHERE excluded.event_ts > event_ts OR (excluded.event_ts = event_ts AND excluded.created_ts > created_ts)"
        )
        written = 0
        with self._lock, connection:
            for entity_key, values, event, created in data:
                key = serialize_entity_key(
                    entity_key, entity_key_serialization_version=config.entity_key_serialization_version
                )
                # Feast's reads expect event times as it stores them: naive UTC, whole seconds. The created time is
                # ours alone: microseconds, which also order events within one second.
                times = (_aware(event).replace(tzinfo=None), _microseconds(created or event))
                changed = 0
                for feature, value in values.items():
                    changed += connection.execute(statement, (key, feature, value.SerializeToString(), *times)).rowcount
                written += changed > 0
        if progress:
            progress(written)


def _aware(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(moment: datetime) -> str:
    return _aware(moment).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


def _microseconds(moment: datetime) -> int:
    return (_aware(moment) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _version(event: datetime, created: datetime | None) -> str:
    return f"{_text(event)}|{_text(created or event)}"
