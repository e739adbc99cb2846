"""Checks that catch what a model should not have known: planted, misaligned or badly purged."""

from training.leaks.check import check_leaks, judge_again
from training.leaks.report import FeatureCheck, LeakLimits, LeakReport, LeakRule

__all__ = ["FeatureCheck", "LeakLimits", "LeakReport", "LeakRule", "check_leaks", "judge_again"]
