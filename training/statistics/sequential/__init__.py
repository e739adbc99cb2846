"""Tests and bounds that hold at every look at once: e-processes, confidence sequences, calibration by betting."""
