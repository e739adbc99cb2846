"""Freeze what ml4t-diagnostic's splitters answer into test vectors: tests/unit/training/split_oracle.json.

The library is no dependency of ours (docs/adr/0015): run this in an environment of its own.

    python3.11 -m venv /tmp/oracle
    /tmp/oracle/bin/pip install ml4t-diagnostic==0.1.0b2
    /tmp/oracle/bin/python scripts/freeze_split_oracle.py
"""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ml4t.diagnostic.splitters import CombinatorialCV, WalkForwardCV

TARGET = Path(__file__).parents[1] / "tests/unit/training/split_oracle.json"
# Rows, groups, groups tested at once, horizon of the labels, and our embargo. The library starts its embargo at the end
# of the test rows, we at the end of their labels, so it is asked for horizon + embargo.
COMBINATORIAL = (
    (120, 6, 2, 0, 0),
    (120, 6, 2, 7, 0),
    (120, 6, 2, 5, 4),
    (140, 7, 3, 3, 2),
    (200, 10, 2, 12, 5),
    (60, 4, 1, 1, 0),
)
# Rows, folds, rows of a test window, rows of the (where it grows: first) training window, horizon, whether it grows.
WALK_FORWARD = (
    (120, 4, 20, 40, 0, False),
    (120, 4, 20, 40, 6, False),
    (120, 5, 20, 20, 11, True),
    (40, 3, 10, 10, 1, True),
)


def runs(indices: np.ndarray) -> list[list[int]]:
    """Return sorted indices as half-open runs [start, stop)."""
    if not len(indices):
        return []
    ordered = np.sort(np.asarray(indices, np.int64))
    breaks = np.flatnonzero(np.diff(ordered) > 1) + 1
    return [[int(part[0]), int(part[-1]) + 1] for part in np.split(ordered, breaks)]


def answers(splitter: Any, rows: int) -> list[dict[str, list[list[int]]]]:
    """Return train and test rows of every split."""
    matrix = np.zeros((rows, 1))
    return [{"train": runs(train), "test": runs(test)} for train, test in splitter.split(matrix)]


def main() -> None:
    """Ask for every case and write the file."""
    content: dict[str, Any] = {
        "library": f"ml4t-diagnostic {metadata.version('ml4t-diagnostic')}",
        "combinatorial": [],
        "walk_forward": [],
    }
    for rows, groups, tested, horizon, embargo in COMBINATORIAL:
        splitter = CombinatorialCV(
            n_groups=groups, n_test_groups=tested, label_horizon=horizon, embargo_size=horizon + embargo
        )
        case = {"rows": rows, "groups": groups, "tested": tested, "horizon": horizon, "embargo": embargo}
        content["combinatorial"].append(case | {"splits": answers(splitter, rows)})
    for rows, folds, test, train, horizon, grows in WALK_FORWARD:
        splitter = WalkForwardCV(
            n_splits=folds,
            test_size=test,
            train_size=None if grows else train,
            label_horizon=horizon,
            expanding=grows,
            consecutive=True,
        )
        case = {"rows": rows, "folds": folds, "train": train, "horizon": horizon, "grows": grows}
        content["walk_forward"].append(case | {"splits": answers(splitter, rows)})
    TARGET.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    cases = [*content["combinatorial"], *content["walk_forward"]]
    print(f"{TARGET}: {sum(len(case['splits']) for case in cases)} splits")


if __name__ == "__main__":
    main()
