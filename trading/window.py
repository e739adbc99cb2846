"""The live features of a session: updated once a step, saved now and then, rebuilt after a restart."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.crash_points import reach
from core.domain import INPUT_COLUMNS
from core.errors import BadInputError, IntegrityError
from core.files import write_bytes
from features.live import LiveFeatures
from features.publish import FeaturePublisher
from features.sets import feature_set
from trading import records
from trading.config import TraderConfig
from trading.desk import Desk

START = "features-start.npz"  # beside the snapshots


class FeatureWindow:
    """Wraps the live driver of the one feature kernel (law 1); the loop asks it for windows and volatilities."""

    def __init__(
        self,
        config: TraderConfig,
        snapshot: records.FeaturesSaved | None,
        publisher: FeaturePublisher | None = None,
    ) -> None:
        """Restore the kernel's state from the newest snapshot, else from the state the features stage wrote.

        ``publisher`` gets each live row for the online store; it never keeps the loop waiting.

        Raises:
            BadInputError: there is no such state, or the feature set has no volatility column of the configured name.
            IntegrityError: the state belongs to other features or instruments.
        """
        chosen = feature_set(config.feature_set)
        if config.volatility_feature not in chosen.columns:
            raise BadInputError(
                f"feature set {config.feature_set!r} has no column {config.volatility_feature!r} to size positions with"
            )
        self._publisher = publisher
        self._directory = config.session_directory
        self._drop_unnamed(snapshot)
        path = self._directory / snapshot.file if snapshot is not None else self._start(config.state_path)
        self._live = LiveFeatures.restore(path, config.lookback, chosen, config.instruments)
        # The first call loads the compiled kernel, which takes half a second: on a copy, before the first step.
        rehearsal = LiveFeatures.restore(path, config.lookback, chosen, config.instruments)
        rehearsal.update(rehearsal.time_ns + 1, np.full((len(config.instruments), len(INPUT_COLUMNS)), np.nan))
        rehearsal.windows()
        self.digest = chosen.digest
        self.columns = tuple(chosen.columns)
        self._instruments = config.instruments
        self._volatility = self.columns.index(config.volatility_feature)
        self._every = config.snapshot_steps
        self._last_rows: NDArray[np.float64] | None = None
        self._values: NDArray[np.float64] | None = None
        self._times: list[int] = []
        self._kept: list[NDArray[np.float64]] = []
        self._since_snapshot = 0

    def _start(self, path: Path) -> Path:
        """Return the state the session begins with: a copy of its own, which a restart and a replay find unchanged."""
        kept = self._directory / START
        if not kept.exists() and path.exists():
            self._directory.mkdir(parents=True, exist_ok=True)
            write_bytes(kept, path.read_bytes())
        return kept if kept.exists() else path

    @property
    def newest_ns(self) -> int:
        """Time of the newest step taken in; 0 before the first."""
        return max(self._live.time_ns, 0)

    def update(self, time_ns: int, rows: NDArray[np.float64]) -> None:
        """Run the kernel once: rows float64 [N, 9] in the order of the session's instruments."""
        values = self._live.update(time_ns, rows)
        self._values = values
        self._last_rows = rows
        self._times.append(time_ns)
        self._kept.append(values.copy())
        self._since_snapshot += 1

    def publish(self, created_ns: int) -> None:
        """Hand the newest row to the online store's publisher, if there is one."""
        if self._publisher is None or self._values is None or self._last_rows is None:
            return
        present: NDArray[np.bool_] = np.array([not np.isnan(row).all() for row in self._last_rows], np.bool_)
        self._publisher.publish(self._instruments, self._live.time_ns, created_ns, self._values, present)

    def windows(self) -> NDArray[np.float32]:
        """The last ``lookback`` feature rows, float32 [N, L, F], oldest first."""
        return self._live.windows()

    def volatilities(self) -> dict[str, float]:
        """Volatility of a one-step log return by instrument; NaN where it is not known yet."""
        if self._values is None:
            return {}
        column = self._values[:, self._volatility]
        return {name: float(value) for name, value in zip(self._instruments, column, strict=True)}

    def snapshot_if_due(self, desk: Desk, time_ns: int) -> None:
        """Save the state every so many steps, so that a restart replays few of them."""
        if self._since_snapshot < self._every:
            return
        name = f"features-{time_ns}.npz"
        self._live.save(self._directory / name)
        self._write_rows(self._directory / f"rows-{time_ns}.npz")
        reach("features.saved")
        desk.commit(records.FeaturesSaved(time_ns, name))
        self._times.clear()
        self._kept.clear()
        self._since_snapshot = 0
        for old in self._directory.glob("features-*.npz"):
            if old.name not in (name, START):
                old.unlink()
        reach("features.replaced")

    def _drop_unnamed(self, snapshot: records.FeaturesSaved | None) -> None:
        """Remove files of a snapshot that was being made when the process died: no record names them."""
        newest = snapshot.time_ns if snapshot is not None else -1
        for pattern in ("features-*.npz", "rows-*.npz"):
            for path in self._directory.glob(pattern):
                stamp = path.stem.partition("-")[2]
                if stamp.isdigit() and int(stamp) > newest:
                    path.unlink()

    def save_parity(self, path: Path) -> None:
        """Write every live feature row of the session for the comparison with the batch driver.

        The file holds ``time_ns`` int64 [T], ``values`` float64 [T, N, F], ``instruments``, ``columns``, ``digest``.
        """
        parts = [np.load(part) for part in sorted(self._directory.glob("rows-*.npz"))]
        shape = (0, len(self._instruments), len(self.columns))
        times = [part["time_ns"] for part in parts] + [np.array(self._times, np.int64)]
        values = [part["values"] for part in parts]
        values.append(np.stack(self._kept) if self._kept else np.empty(shape))
        self._write(path, np.concatenate(times), np.concatenate(values))

    def _write_rows(self, path: Path) -> None:
        self._write(path, np.array(self._times, np.int64), np.stack(self._kept))

    def _write(self, path: Path, times: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        if np.any(np.diff(times) <= 0):
            raise IntegrityError("live feature rows are not in the order of time: rebuild the session's features")
        with path.open("wb") as stream:
            np.savez(
                stream,
                time_ns=times,
                values=values,
                instruments=np.array(self._instruments),
                columns=np.array(self.columns),
                digest=np.array(self.digest),
            )
