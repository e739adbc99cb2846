"""Feast's offline store over one parquet file per view: the ASOF join of ``features.asof`` behind Feast's interface.

Feast's own file stores join every entity row to its key's whole history, drop duplicate entity rows and reorder them.
This one keeps the rows as asked and takes seconds. Configure it with ``type: features.offline_store.AsofOfflineStore``.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast.feature_view import FeatureView
from feast.infra.offline_stores.file_source import FileSource, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from core.errors import BadInputError, UsageError
from core.files import replacing
from features.asof import Limits, Source, asof_join, connection, microseconds, quoted

_TYPE = "features.offline_store.AsofOfflineStore"


class AsofOfflineStoreConfig(FeastConfigBaseModel):
    """What a join may use."""

    type: Literal["features.offline_store.AsofOfflineStore"] = _TYPE
    memory_limit: str = "1GB"
    temporary_space_limit: str = "2GB"
    threads: int = 2

    @property
    def limits(self) -> Limits:
        """The limits as the join wants them."""
        return Limits(self.memory_limit, self.temporary_space_limit, self.threads)


class AsofRetrievalJob(RetrievalJob):
    """A query that runs when its result is asked for."""

    def __init__(
        self,
        evaluate: Callable[[], pa.Table],
        full_feature_names: bool = False,
        on_demand: list[OnDemandFeatureView] | None = None,
        metadata: RetrievalMetadata | None = None,
        repository: Path | None = None,
    ) -> None:
        self._evaluate = evaluate
        self._full_feature_names = full_feature_names
        self._on_demand = on_demand or []
        self._metadata = metadata
        self._repository = repository

    @property
    def full_feature_names(self) -> bool:
        return self._full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self._evaluate()

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._evaluate().to_pandas()

    def persist(self, storage: Any, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        """Write the result to a parquet file."""
        if not isinstance(storage, SavedDatasetFileStorage):
            raise UsageError(f"{type(storage).__name__} cannot hold this result: use SavedDatasetFileStorage")
        path = Path(FileSource.get_uri_for_file_path(self._repository, storage.file_options.uri))
        if path.exists() and not allow_overwrite:
            raise UsageError(f"{path} exists: choose another name or allow overwriting")
        with replacing(path) as temporary:
            pq.write_table(self.to_arrow(), temporary)


class AsofOfflineStore(OfflineStore):
    """Point-in-time joins over parquet files with DuckDB."""

    supports_filter_by_created_timestamp: bool = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """Join feature rows to entity rows; rows, their order and duplicates stay as given.

        Raises:
            UsageError: entity rows were not given as a frame.
            BadInputError: a column or a file is missing.
        """
        from feast.utils import (
            _get_requested_feature_views_to_features_dict,  # pyright: ignore[reportPrivateUsage] # as Feast's own stores
        )

        if not isinstance(entity_df, pd.DataFrame):
            raise UsageError("give the entity rows as a pandas frame: queries and bare time ranges are not supported")
        event_column = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        requested, _ = _get_requested_feature_views_to_features_dict(feature_refs, feature_views, on_demand)

        def evaluate() -> pa.Table:
            table = pa.Table.from_pandas(entity_df, preserve_index=False)
            moments = microseconds(table[event_column].combine_chunks())
            for view, features in requested.items():
                table = _joined(
                    config, table, moments, view, list(dict.fromkeys(features)), full_feature_names,
                    filter_by_created_timestamp,
                )  # fmt: skip
            return table

        asked = cast(Any, entity_df[event_column])
        keys = [str(name) for name in entity_df.columns if name != event_column]
        return AsofRetrievalJob(
            evaluate,
            full_feature_names,
            on_demand,
            RetrievalMetadata(feature_refs, keys, asked.min(), asked.max()),
            _repository(config),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """Return each key's newest row with an event time in ``[start_date, end_date]``, in its latest correction."""
        order = f"{quoted(timestamp_field)} DESC"
        if created_timestamp_column:
            order += f", {quoted(created_timestamp_column)} DESC NULLS LAST"
        partition = ", ".join(quoted(key) for key in join_key_columns)
        newest = f"QUALIFY row_number() OVER (PARTITION BY {partition} ORDER BY {order}) = 1"
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        return _selection(config, data_source, columns, timestamp_field, start_date, end_date, newest)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Return all rows with an event time in ``[start_date, end_date]``, corrections included."""
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)
        return _selection(config, data_source, columns, timestamp_field, start_date, end_date, "")

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Append rows to a view's file; the file is replaced whole.

        Raises:
            BadInputError: the file is missing, or the rows lack one of its columns.
        """
        path = _path(config, feature_view.batch_source)
        standing = pq.read_table(path)
        missing = [name for name in standing.column_names if name not in table.column_names]
        if missing:
            raise BadInputError(f"rows for {path} lack the columns {', '.join(missing[:5])}")
        added = table.select(standing.column_names).cast(standing.schema)
        with replacing(path) as temporary:
            pq.write_table(pa.concat_tables([standing, added]), temporary, compression="zstd")
        if progress:
            progress(table.num_rows)


def _joined(
    config: RepoConfig,
    table: pa.Table,
    moments: Any,
    view: FeatureView,
    features: list[str],
    full_feature_names: bool,
    known_by_then: bool,
) -> pa.Table:
    """Append one view's features to the entity table."""
    source = view.batch_source
    if source is None:
        raise BadInputError(f"feature view {view.name} has no file behind it")
    in_file = {shown: stored for stored, shown in (source.field_mapping or {}).items()}
    keys = [column.name for column in view.entity_columns]
    asked = [view.projection.join_key_map.get(key, key) for key in keys]
    missing = [key for key in asked if key not in table.column_names]
    if missing:
        raise BadInputError(f"entity rows lack the column {missing[0]}, the key of feature view {view.name}")
    stored = Source(
        _path(config, source),
        tuple(in_file.get(key, key) for key in keys),
        str(source.timestamp_field),
        source.created_timestamp_column or None,
        tuple(in_file.get(feature, feature) for feature in features),
        view.ttl.total_seconds() if view.ttl else 0.0,
    )
    limits = cast(AsofOfflineStoreConfig, config.offline_store).limits
    answer = asof_join(table, moments, asked, stored, known_by_then, limits)
    for position, feature in enumerate(features):
        name = f"{view.projection.name_to_use()}__{feature}" if full_feature_names else feature
        table = table.append_column(name, answer.column(position))
    return table


def _columns(keys: list[str], features: list[str], event: str, created: str | None) -> list[str]:
    return list(dict.fromkeys([*keys, *features, event, *([created] if created else [])]))


def _selection(
    config: RepoConfig,
    data_source: Any,
    columns: list[str],
    event: str,
    start: datetime | None,
    end: datetime | None,
    newest: str,
) -> RetrievalJob:
    path = _path(config, data_source)
    limits = cast(AsofOfflineStoreConfig, config.offline_store).limits
    bounds = [("start", start, ">="), ("end", end, "<=")]
    where = " AND ".join(f"{quoted(event)} {sign} ${name}" for name, moment, sign in bounds if moment) or "true"
    statement = f"SELECT {', '.join(map(quoted, columns))} FROM read_parquet($path) WHERE {where} {newest}"
    parameters: dict[str, Any] = {"path": str(path)} | {name: moment for name, moment, _ in bounds if moment}

    def evaluate() -> pa.Table:
        with connection(limits) as database:
            return database.sql(statement, params=parameters).to_arrow_table()

    return AsofRetrievalJob(evaluate, repository=_repository(config))


def _repository(config: RepoConfig) -> Path:
    return Path(config.repo_path or ".")


def _path(config: RepoConfig, source: Any) -> Path:
    if not isinstance(source, FileSource):
        raise UsageError(f"{type(source).__name__} is no parquet file: this offline store reads FileSource only")
    return Path(FileSource.get_uri_for_file_path(_repository(config), source.path))
