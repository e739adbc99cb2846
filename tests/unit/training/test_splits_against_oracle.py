"""Our splits against those of another library, frozen by ``scripts/freeze_split_oracle.py`` (docs/adr/0015)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.files import read_json
from training.splits import CombinatorialPurged, Split, WalkForward

ORACLE: dict[str, Any] = read_json(Path(__file__).with_name("split_oracle.json"))


def rows_of(runs: list[list[int]]) -> list[int]:
    return [row for start, stop in runs for row in range(start, stop)]


def same(folds: list[Any], expected: list[dict[str, list[list[int]]]]) -> None:
    assert len(folds) == len(expected)
    for fold, split in zip(folds, expected, strict=True):
        assert fold.test.tolist() == rows_of(split["test"])
        assert fold.train.tolist() == rows_of(split["train"])


@pytest.mark.parametrize("case", ORACLE["combinatorial"], ids=lambda c: f"{c['groups']}-{c['tested']}-{c['horizon']}")
def test_combinatorial_splits_hold_the_same_rows(case: dict[str, Any]) -> None:
    axis = np.arange(case["rows"], dtype=np.int64)
    cv = CombinatorialPurged(case["groups"], case["tested"], case["embargo"])
    same(cv.folds_of(axis, axis + case["horizon"]), case["splits"])


@pytest.mark.parametrize("case", ORACLE["walk_forward"], ids=lambda c: f"{c['folds']}-{c['horizon']}-{c['grows']}")
def test_walk_forward_splits_hold_the_same_rows(case: dict[str, Any]) -> None:
    axis = np.arange(case["rows"], dtype=np.int64)
    cv = WalkForward(case["folds"], case["train"], 0, "anchored" if case["grows"] else "rolling")
    folds: list[Split] = cv.folds_of(axis, axis + case["horizon"])
    same(folds, case["splits"])


def test_the_oracle_has_something_to_say() -> None:
    assert sum(len(case["splits"]) for case in ORACLE["combinatorial"]) == 129
    assert any(len(split["train"]) > 2 for case in ORACLE["combinatorial"] for split in case["splits"])
