"""The durable journal: what a process decided and saw, in order, before anything left it (law 3)."""

from core.journal.entry import Entry
from core.journal.follower import Follower
from core.journal.interface import Appender
from core.journal.reader import read_entries, read_segment, written_bytes
from core.journal.repair import Repair, check_end
from core.journal.writer import Journal

__all__ = [
    "Appender",
    "Entry",
    "Follower",
    "Journal",
    "Repair",
    "check_end",
    "read_entries",
    "read_segment",
    "written_bytes",
]
