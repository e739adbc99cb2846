"""Labels net of cost: fixed horizon, triple barrier, and meta-labels of a primary rule."""

from training.labels.make import VOLATILITY_DECAY, VOLATILITY_STEPS, make_labels
from training.labels.rows import (
    EXPIRED,
    FLAT,
    LONG,
    PAID,
    SHORT,
    STOPPED,
    Labels,
    Outcomes,
    assert_before_holdout,
    decision_moments,
    distinct_moments,
)

__all__ = [
    "EXPIRED",
    "FLAT",
    "LONG",
    "PAID",
    "SHORT",
    "STOPPED",
    "VOLATILITY_DECAY",
    "VOLATILITY_STEPS",
    "Labels",
    "Outcomes",
    "assert_before_holdout",
    "decision_moments",
    "distinct_moments",
    "make_labels",
]
