"""A policy with its versions loaded: asks them, gives every row to its arm, survives a challenger that fails."""

import time

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.domain import PredictionRequest
from core.errors import RefusedError
from core.logging import get_logger
from serving.answer import BLEND, CHAMPION, Answer, AnswerHeader, VersionName
from serving.traffic.assignment import challenger_rows
from serving.traffic.blend import mixed
from serving.traffic.policy import CHAMPION_ONLY, Arm, Mode, Traffic
from serving.traffic.recorder import ArmRecorder
from serving.version import ServedVersion, distributions

_log = get_logger("serving")


class NoModelError(RefusedError):
    """There is no verified model for a strategy here; another process may have one."""


class FlatError(NoModelError):
    """The policy of a strategy says that nobody answers: asking elsewhere is of no use."""


class ServedPolicy:
    """What one strategy answers with, between two changes of its policy. Nothing in it changes once it is installed.

    Attributes:
        strategy, revision, traffic, flat: as in the policy (``serving.traffic.pointer.Pointer``).
        champion: answers; None only where the policy is flat.
        challenger: the second version, None where there is none or it could not be loaded.
        recorders: where measurements go, by arm; empty: nowhere.
    """

    def __init__(
        self,
        strategy: str,
        revision: int,
        champion: ServedVersion | None,
        challenger: ServedVersion | None = None,
        *,
        traffic: Traffic = CHAMPION_ONLY,
        flat: str = "",
        absent: VersionName | None = None,
    ) -> None:
        """``absent`` names a challenger of the policy that could not be loaded."""
        self.strategy, self.revision, self.traffic, self.flat = strategy, revision, traffic, flat
        self.champion, self.challenger = champion, challenger
        self.recorders: dict[str, ArmRecorder] = {}
        self._beside = absent if challenger is None else challenger.name
        self._complaint = ""
        name = VersionName("", "", "") if champion is None else champion.name
        self._header = AnswerHeader(
            name.model_name,
            name.model_version,
            name.model_digest,
            revision,
            self._beside,
            champion_strategy=() if champion is None else champion.strategy,
            challenger_strategy=() if challenger is None else challenger.strategy,
        )

    @property
    def versions(self) -> tuple[ServedVersion, ...]:
        """The loaded versions, champion first."""
        return tuple(version for version in (self.champion, self.challenger) if version is not None)

    @property
    def names(self) -> list[tuple[str, str, str]]:
        """Arm, version and model digest of every version of the policy, loaded or not."""
        champion = None if self.champion is None else self.champion.name
        arms = ((Arm.CHAMPION, champion), (Arm.CHALLENGER, self._beside))
        return [(arm.value, name.model_version, name.model_digest) for arm, name in arms if name is not None]

    def answer(self, request: PredictionRequest) -> Answer:
        """Answer a request as the policy says.

        A challenger that fails never fails the request: the champion answers its rows, and the failure is counted.

        Raises:
            FlatError: nobody answers.
            RefusedError: the request was made for other features or has too short a window, or the champion gives no
                number for a row.
        """
        if self.champion is None or self.flat:
            raise FlatError(f"strategy {self.strategy} is flat, no model answers: {self.flat}")
        champion = self._ask_champion(self.champion, request)
        if self._beside is None:
            return Answer(self._header, champion[None])
        rows = len(champion)
        values = np.empty((3, rows, champion.shape[1]), np.float32)
        values[:2] = champion
        usable = self._ask_challenger(request, values[2])
        arms = self._arms(request, usable)
        if not arms:
            return Answer(self._header, values)
        taken = [row for row, arm in enumerate(arms) if arm]
        other = values[2] if self.traffic.blend is None else mixed(values[1:], self.traffic.blend, request.time_ns)
        values[0, taken] = other[taken]
        weight = 0.0 if self.traffic.blend is None else self.traffic.blend.weight_at(request.time_ns)
        return Answer(msgspec.structs.replace(self._header, arms=arms, weight=weight), values)

    def _ask_champion(self, version: ServedVersion, request: PredictionRequest) -> NDArray[np.float32]:
        recorder = self.recorders.get("champion")
        if recorder is None:
            found = version.probabilities(request)
            if not np.isfinite(found).all():
                raise version.no_number(request, found)
            return found
        rows = len(request.instruments)
        started = time.perf_counter()
        try:
            found = version.probabilities(request)
        except RefusedError:  # a request that is not for this version is no failure of it
            raise
        except Exception:
            recorder.add(time.perf_counter() - started, rows, rows)
            raise
        seconds = time.perf_counter() - started
        if not np.isfinite(found).all():
            recorder.add(seconds, rows, int(rows - np.isfinite(found).all(axis=1).sum()))
            raise version.no_number(request, found)
        recorder.add(seconds, rows, 0, found, request.features)
        return found

    def _ask_challenger(self, request: PredictionRequest, into: NDArray[np.float32]) -> list[bool] | None:
        """Write what the challenger says into float32 [N, 3], NaN in the rows without a distribution.

        Returns:
            Which rows have one; None where all have.
        """
        rows = len(into)
        recorder = self.recorders.get("challenger")
        found: NDArray[np.float32] | None = None
        seconds: float | None = None
        words = ""
        if self.challenger is not None:
            started = time.perf_counter()
            try:
                found = self.challenger.probabilities(request)
            except Exception as error:  # whatever a model in its trial does, the champion answers
                words = str(error)
            seconds = time.perf_counter() - started
        usable = [False] * rows if found is None else distributions(found, rows)
        missing = rows - sum(usable)
        if found is not None and missing < rows:
            into[:] = found
        if missing:
            into[[row for row, good in enumerate(usable) if not good]] = np.nan
            self._complain(words or f"no distribution for {missing} of {rows} rows")
        if recorder is not None:
            recorder.add(seconds, rows, missing, into, request.features)
        return usable if missing else None

    def _arms(self, request: PredictionRequest, usable: list[bool] | None) -> bytes:
        """Return the arm of every row, a byte each; empty where all are the champion's."""
        if self.traffic.mode is Mode.BLEND:
            arms = bytes([BLEND]) * len(request.instruments)
        else:
            arms = challenger_rows(self.traffic, request.strategy, request.instruments, request.time_ns)
        if usable is not None and arms:
            arms = bytes(arm if good else CHAMPION for arm, good in zip(arms, usable, strict=True))
            arms = arms if any(arms) else b""
        return arms

    def _complain(self, words: str) -> None:
        """Log a failure of the challenger, once per cause; the statistics count every one."""
        if self.challenger is not None and words != self._complaint:
            self._complaint = words
            _log.error(
                "the challenger failed; the champion answers its rows",
                strategy=self.strategy,
                revision=self.revision,
                reason=words,
            )
