"""The one feature kernel: a compiled step over a cross-section, and the fold of it that batch and live both call."""

from features.kernel.columns import BAR_COLUMNS, CLOSE_COLUMNS, COLUMNS, WARM_UP
from features.kernel.fold import fold
from features.kernel.source import kernel_digest

__all__ = ["BAR_COLUMNS", "CLOSE_COLUMNS", "COLUMNS", "WARM_UP", "fold", "kernel_digest"]
