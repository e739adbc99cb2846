"""A policy with its versions loaded: asks them, gives every row to its arm, survives a challenger that fails."""

import time

import numpy as np
from numpy.typing import NDArray

from core.domain import PredictionRequest
from core.errors import RefusedError
from core.logging import get_logger
from serving.answer import BLEND, CHALLENGER, CHAMPION, Answer, AnswerHeader, VersionName
from serving.traffic.assignment import assigned
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
        self._plain = AnswerHeader(name.model_name, name.model_version, name.model_digest, revision)
        self._header = AnswerHeader(name.model_name, name.model_version, name.model_digest, revision, self._beside)

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
            return Answer(self._plain, champion)
        challenger = self._ask_challenger(request, len(champion))
        arms = self._arms(request, challenger)
        header = self._header
        traded = champion
        if any(arms):
            header = AnswerHeader(
                header.model_name, header.model_version, header.model_digest, self.revision, self._beside, arms
            )
            other = challenger
            if self.traffic.blend is not None:
                other = mixed(champion, challenger, self.traffic.blend, request.time_ns)
            taken = np.frombuffer(arms, np.uint8) != CHAMPION
            traded = np.where(taken[:, None], other, champion)
        scored = np.empty((2, *champion.shape), np.float32)
        scored[0], scored[1] = champion, challenger
        return Answer(header, traded, scored)

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

    def _ask_challenger(self, request: PredictionRequest, rows: int) -> NDArray[np.float32]:
        """Return probabilities float32 [N, 3], NaN in the rows without a distribution."""
        recorder = self.recorders.get("challenger")
        found: NDArray[np.float32] | None = None
        seconds: float | None = None
        if self.challenger is not None:
            started = time.perf_counter()
            try:
                found = self.challenger.probabilities(request)
            except Exception as error:  # whatever a model in its trial does, the champion answers
                self._complain(str(error))
            seconds = time.perf_counter() - started
        usable = np.zeros(rows, np.bool_) if found is None else distributions(found, rows)
        if found is not None and usable.all():
            if recorder is not None:
                recorder.add(seconds, rows, 0, found, request.features)
            return found
        missing = int(rows - usable.sum())
        if found is not None:
            self._complain(f"no distribution for {missing} of {rows} rows")
        kept = np.full((rows, 3), np.nan, np.float32)
        if found is not None and usable.any():
            kept[usable] = found[usable]
        if recorder is not None:
            recorder.add(seconds, rows, missing, kept, request.features)
        return kept

    def _arms(self, request: PredictionRequest, challenger: NDArray[np.float32]) -> bytes:
        """Return the arm of every row, a byte each; empty where all are the champion's."""
        traffic = self.traffic
        if traffic.mode is Mode.BLEND:
            return bytes(BLEND if first == first else CHAMPION for first in challenger[:, 0].tolist())
        if traffic.mode not in (Mode.CANARY, Mode.AB):
            return b""
        strategy, time_ns = request.strategy, request.time_ns
        arms = bytes(
            CHALLENGER
            if first == first and assigned(traffic, strategy, instrument, time_ns) is Arm.CHALLENGER
            else CHAMPION
            for instrument, first in zip(request.instruments, challenger[:, 0].tolist(), strict=True)
        )
        return arms if any(arms) else b""

    def _complain(self, words: str) -> None:
        """Log a failure of the challenger, once per cause; the statistics count every one."""
        if words != self._complaint:
            self._complaint = words
            _log.error(
                "the challenger failed; the champion answers its rows",
                strategy=self.strategy,
                revision=self.revision,
                reason=words,
            )
