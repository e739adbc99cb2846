"""What the kernel remembers between two steps, and its file: a warm start reads state, not history."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.domain import default_instrument
from core.errors import BadInputError, IntegrityError
from core.files import replacing
from features.kernel.layout import COUNTERS, SLOTS
from features.sets import FeatureSet, feature_set

HISTORY_ROWS = 64  # feature rows kept per instrument: the longest look-back a model may have
_FORMAT = 1


@dataclass
class KernelState:
    """State of one feature set over N instruments.

    Attributes:
        definition: the feature set this state belongs to.
        instruments: names, sorted; the position is the kernel's index.
        floats, counters: float64 [N, SLOTS] and int64 [N, COUNTERS], see ``features.kernel.layout``.
        history: float32 [N, 64, F], each instrument's last feature rows, oldest first, NaN where there was none yet.
        time_ns: time of the last step, -1 before the first.
    """

    definition: FeatureSet
    instruments: tuple[str, ...]
    floats: NDArray[np.float64]
    counters: NDArray[np.int64]
    history: NDArray[np.float32]
    time_ns: int = -1

    @classmethod
    def fresh(cls, definition: FeatureSet, instruments: Sequence[str]) -> "KernelState":
        """Return the state before the first row.

        Raises:
            BadInputError: names are not sorted, not unique, or no pairs.
        """
        names = check_instruments(instruments)
        count = len(names)
        return cls(
            definition,
            names,
            np.full((count, SLOTS), np.nan),
            np.zeros((count, COUNTERS), np.int64),
            np.full((count, HISTORY_ROWS, len(definition.columns)), np.nan, np.float32),
        )

    def copy(self) -> "KernelState":
        """Return an independent copy."""
        return KernelState(
            self.definition,
            self.instruments,
            self.floats.copy(),
            self.counters.copy(),
            self.history.copy(),
            self.time_ns,
        )

    def save(self, path: Path) -> None:
        """Write the state atomically; the same state gives the same bytes."""
        with replacing(path) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                format=np.int64(_FORMAT),
                feature_set=np.str_(self.definition.name),
                feature_digest=np.str_(self.definition.digest),
                instruments=np.array(self.instruments, dtype=np.str_),
                floats=self.floats,
                counters=self.counters,
                history=self.history,
                time_ns=np.int64(self.time_ns),
            )

    @classmethod
    def load(
        cls, path: Path, expected: FeatureSet | None = None, instruments: Sequence[str] | None = None
    ) -> "KernelState":
        """Read a state written by ``save``; None for ``expected`` means the present definition of the set it names.

        Raises:
            BadInputError: the file is missing or no state.
            IntegrityError: it belongs to another feature definition or to other instruments.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
            name, digest = str(content["feature_set"]), str(content["feature_digest"])
            names = tuple(str(item) for item in content["instruments"])
            known_format = int(content["format"]) == _FORMAT
            floats, counters = content["floats"], content["counters"]
            history, time_ns = content["history"], int(content["time_ns"])
        except FileNotFoundError:
            raise BadInputError(f"feature state {path} not found: run the features stage first") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise BadInputError(f"{path} is no feature state ({error}): run the features stage again") from None
        definition = expected or feature_set(name)
        if not known_format or name != definition.name or digest != definition.digest:
            raise IntegrityError(
                f"feature state {path} was made by {name} {digest[:12]}, this is {definition.name} "
                f"{definition.digest[:12]}: run the features stage again with this code"
            )
        if instruments is not None and names != tuple(instruments):
            raise IntegrityError(
                f"feature state {path} holds {', '.join(names)}, asked for {', '.join(instruments)}: "
                "run the features stage again with these instruments"
            )
        state = cls(definition, names, floats, counters, history, time_ns)
        model = cls.fresh(definition, names)
        for mine, like in ((floats, model.floats), (counters, model.counters), (history, model.history)):
            if mine.shape != like.shape or mine.dtype != like.dtype:
                raise IntegrityError(f"feature state {path} has arrays of another shape: run the features stage again")
        return state


def check_instruments(instruments: Sequence[str]) -> tuple[str, ...]:
    """Return the names as a tuple. Their order is part of the arithmetic: sums over the cross-section follow it.

    Raises:
        BadInputError: names are missing, not sorted, not unique, or no pairs.
    """
    names = tuple(instruments)
    if not names or list(names) != sorted(set(names)):
        raise BadInputError(
            f"instruments {', '.join(names) or '(none)'}: give at least one, sorted and without repeats"
        )
    for name in names:
        default_instrument(name)
    return names


def currency_index(instruments: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Return the positions of base and quote currency per instrument, int64 [N] each, and how many there are."""
    pairs = [(default_instrument(name).base, default_instrument(name).quote) for name in instruments]
    position = {code: index for index, code in enumerate(sorted({code for pair in pairs for code in pair}))}
    base = np.array([position[base] for base, _ in pairs], np.int64)
    quote = np.array([position[quote] for _, quote in pairs], np.int64)
    return base, quote, len(position)
