"""Purged and embargoed splits: walk-forward for fitting, combinatorial for what one path cannot tell."""

from training.splits.combinatorial import CombinatorialPurged, CombinatorialSplit
from training.splits.refusals import check_classes
from training.splits.walk_forward import WalkForward
from training.splits.windows import Split, embargo, last_window, purge, validation_tail

__all__ = [
    "CombinatorialPurged",
    "CombinatorialSplit",
    "Split",
    "WalkForward",
    "check_classes",
    "embargo",
    "last_window",
    "purge",
    "validation_tail",
]
