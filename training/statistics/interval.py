"""A value and its interval: the common shape of every estimate."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A point estimate and its confidence limits."""

    value: float
    low: float
    high: float
