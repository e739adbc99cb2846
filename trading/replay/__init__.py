"""Replay: the journal of a session through the same loop, compared record by record, byte for byte."""

from trading.replay.difference import Difference, FieldDifference
from trading.replay.run import ReplayReport, replay_session

__all__ = ["Difference", "FieldDifference", "ReplayReport", "replay_session"]
