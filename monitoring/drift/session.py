"""The live window of a trading session, read from its journal while the trader may go on trading.

The journal holds the bars of every decision time, durably. Folding the one feature kernel over them from the state the
session began with gives the very rows the trader saw (law 1), without asking the trader and after any crash.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from core.domain import INPUT_COLUMNS
from core.errors import BadInputError
from core.files import replacing
from core.journal import read_entries
from features.live import LiveFeatures
from features.sets import FeatureSet
from trading import records
from trading.trader import JOURNAL


def newest_session(sessions: Path, strategy: str) -> Path:
    """Return the folder of the session of a strategy that was opened last and has seen a step.

    Raises:
        BadInputError: no session of this strategy has seen one.
    """
    found: list[tuple[int, Path]] = []
    for folder in sorted(sessions.glob("*")) if sessions.is_dir() else []:
        try:
            opened = next(
                (entry.time_ns, record)
                for entry in read_entries(folder / JOURNAL)
                if isinstance(record := records.decode(entry), records.SessionOpened)
            )
        except (BadInputError, StopIteration):
            continue
        if opened[1].strategy == strategy and _steps(folder):
            found.append((folder.stat().st_mtime_ns, folder))
    if not found:
        raise BadInputError(f"drift: no session of {strategy} has seen a bar yet; trade first, then check for drift")
    return max(found)[1]


def _steps(folder: Path) -> list[records.StepClosed]:
    decoded = (records.decode(entry) for entry in read_entries(folder / JOURNAL))
    return [record for record in decoded if isinstance(record, records.StepClosed)]


def write_session_window(session: Path, workspace: Path, definition: FeatureSet, path: Path) -> Path:
    """Write the live feature rows of a session as parquet (instrument, event_timestamp, features); return the path.

    Args:
        session: folder of the session.
        workspace: whose feature state at the cut-off the session began with.
        definition: the feature set.
        path: file to write, whole or not at all.

    Raises:
        BadInputError: the session has seen no bar, or the workspace has no feature state.
        IntegrityError: the state is of other features or instruments.
    """
    steps = _steps(session)
    if not steps:
        raise BadInputError(f"drift: session {session.name} has seen no bar yet; let it trade first")
    live = LiveFeatures.restore(workspace / "data" / "processed" / "features" / "state.npz", 1, definition)
    count = len(steps[0].rows) // (8 * len(INPUT_COLUMNS))
    instruments = list(live.instruments)
    if len(instruments) != count:
        raise BadInputError(
            f"drift: session {session.name} trades {count} instruments, the workspace has {len(instruments)}; "
            "run the features stage with the parameters of the session"
        )
    frames: list[pd.DataFrame] = []
    for step in steps:
        if step.time_ns <= live.time_ns:
            continue
        rows = np.frombuffer(step.rows, np.float64).reshape(count, len(INPUT_COLUMNS))
        present = ~np.array([np.isnan(row).all() for row in rows])
        values = live.update(step.time_ns, rows)[present]
        labels = {
            "instrument": [name for name, here in zip(instruments, present, strict=True) if here],
            "event_timestamp": [pd.Timestamp(step.time_ns, tz="UTC")] * len(values),
        }
        features = {column: values[:, index] for index, column in enumerate(definition.columns)}
        frame = pd.DataFrame({**labels, **features})
        frames.append(frame)
    if not frames:
        raise BadInputError(
            f"drift: the workspace was retrained past session {session.name}; trade the new model first"
        )
    with replacing(path) as temporary:
        pd.concat(frames, ignore_index=True).to_parquet(temporary, index=False)
    return path
