"""Feast objects for one feature set: the columns are the kernel's, so no list is typed twice."""

from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource
from feast.types import Float64, String
from feast.value_type import ValueType

from features.sets import FeatureSet

# Relative to the workspace: a workspace may be moved with its registry.
FEATURES_FILE = Path("data/processed/features/features.parquet")
DIGEST_TAG = "tidegate.feature_digest"
SET_TAG = "tidegate.feature_set"


def instrument_entity() -> Entity:
    """Return the one entity: a currency pair such as ``EUR_USD``."""
    return Entity(name="instrument", join_keys=["instrument"], value_type=ValueType.STRING)


def feature_view(definition: FeatureSet) -> FeatureView:
    """Return the view of a set: rows of the features stage, and rows pushed by the live loop."""
    batch = FileSource(
        name=f"{definition.service}_file",
        path=str(FEATURES_FILE),
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    return FeatureView(
        name=definition.service,
        entities=[instrument_entity()],
        ttl=timedelta(seconds=definition.time_to_live_seconds),
        schema=[
            Field(name="instrument", dtype=String),
            *(Field(name=column, dtype=Float64) for column in definition.columns),
        ],
        source=PushSource(name=definition.push_source, batch_source=batch),
        online=True,
        tags={DIGEST_TAG: definition.digest, SET_TAG: definition.name},
    )


def feature_service(definition: FeatureSet, view: FeatureView) -> FeatureService:
    """Return the service pinned to this definition: another definition has another name."""
    return FeatureService(
        name=definition.service,
        features=cast(Any, [view[list(definition.columns)]]),
        tags={DIGEST_TAG: definition.digest, SET_TAG: definition.name},
    )


def objects(definition: FeatureSet) -> list[Any]:
    """Return everything ``FeatureStore.apply`` needs for one set."""
    view = feature_view(definition)
    return [instrument_entity(), view, feature_service(definition, view)]
