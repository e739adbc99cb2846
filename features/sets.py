"""Feature sets: a named choice of columns, pinned by a digest of names, kernel source and parameters."""

from dataclasses import dataclass
from functools import lru_cache

from core.digest import digest_value
from core.domain import INPUT_COLUMNS
from core.errors import BadInputError
from features.kernel import CLOSE_COLUMNS, COLUMNS, WARM_UP, kernel_digest

DAY_SECONDS = 86_400


@dataclass(frozen=True)
class FeatureSet:
    """What a model is fed.

    Attributes:
        name: ``fixings`` or ``bars``.
        columns: feature names in the order of a feature row.
        warm_up: per column, how many earlier rows of the instrument it needs before it has a value.
        digest: SHA-256 over names, warm-ups, kernel source and input columns. A model made for another digest refuses.
        time_to_live_seconds: age past which a feature row says nothing about the present.
    """

    name: str
    columns: tuple[str, ...]
    warm_up: tuple[int, ...]
    digest: str
    time_to_live_seconds: int

    @property
    def service(self) -> str:
        """Name of the Feast view and service pinned to this definition.

        Another definition has another name, so rows of two definitions never meet in the online store.
        """
        return f"{self.name}_{self.digest[:16]}"

    @property
    def push_source(self) -> str:
        """Name of the Feast push source of this definition."""
        return f"{self.service}_push"

    @property
    def stream(self) -> str:
        """Name of the Redis stream on which the live loop publishes rows of this definition."""
        return f"tidegate:features:{self.service}"


# The longest silence with open markets is Christmas and New Year for fixings, a long weekend for bars.
_SETS: dict[str, tuple[tuple[str, ...], int]] = {
    "fixings": (CLOSE_COLUMNS, 10 * DAY_SECONDS),
    "bars": (COLUMNS, 4 * DAY_SECONDS),
}
SET_NAMES = tuple(_SETS)


@lru_cache(maxsize=8)
def feature_set(name: str) -> FeatureSet:
    """Return the feature set of this name.

    Raises:
        BadInputError: there is none.
    """
    if name not in _SETS:
        raise BadInputError(f"unknown feature set {name!r}: choose one of {', '.join(SET_NAMES)}")
    columns, time_to_live = _SETS[name]
    warm_up = tuple(int(rows) for rows in WARM_UP[: len(columns)])
    definition = {
        "columns": columns,
        "inputs": INPUT_COLUMNS,
        "kernel": kernel_digest(),
        "name": name,
        "time_to_live_seconds": time_to_live,
        "warm_up": warm_up,
    }
    return FeatureSet(name, columns, warm_up, digest_value(definition), time_to_live)
