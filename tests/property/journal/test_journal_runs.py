"""Entries encoded many at a time are, byte for byte, those encoded one by one."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from core.journal import Journal, read_entries
from core.journal.compiled import encode_run
from core.journal.entry import encode_entries
from core.journal.reader import segment_paths

_PAYLOADS = st.lists(st.binary(max_size=40), min_size=1, max_size=20)


def _columns(payloads: list[bytes], first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = np.zeros((len(payloads), max(map(len, payloads)) + 1), np.uint8)
    for row, content in zip(rows, payloads, strict=True):
        row[: len(content)] = np.frombuffer(content, np.uint8)
    times = np.arange(len(payloads), dtype=np.int64) * 977 + first
    return times, rows, np.array([len(content) for content in payloads], np.int64)


@settings(max_examples=60, deadline=None)
@given(_PAYLOADS, st.integers(1, 2**62), st.integers(-(2**62), 2**62), st.sampled_from(["quote", "q", "a" * 32]))
def test_same_bytes(payloads: list[bytes], sequence: int, first: int, kind: str) -> None:
    times, rows, sizes = _columns(payloads, first)
    singly = [(sequence + index, int(times[index]), kind, content, False) for index, content in enumerate(payloads)]
    assert encode_run(sequence, times, kind, rows, sizes) == encode_entries(singly)


def test_runs_and_single_entries_follow_each_other_over_segments(tmp_path: Path) -> None:
    wanted: list[tuple[int, str, bytes, bool]] = []
    with Journal(tmp_path, segment_bytes=4096) as journal:
        for number in range(30):
            payloads = [bytes([number, index]) * (index % 5) for index in range(number % 7 * 3)]
            if payloads:
                times, rows, sizes = _columns(payloads, number)
                journal.append_run("quote", times, rows, sizes)
                wanted += [(int(time), "quote", content, False) for time, content in zip(times, payloads, strict=True)]
            assert journal.append("order", b"x" * number, number, durable=number % 4 == 0) == len(wanted) + 1
            wanted.append((number, "order", b"x" * number, number % 4 == 0))
        journal.append_run("quote", *_columns([b"last"], 7)[:1], np.zeros((1, 4), np.uint8), np.array([0], np.int64))
        wanted.append((7, "quote", b"", False))
    found = list(read_entries(tmp_path))
    assert [(entry.time_ns, entry.kind, entry.payload, entry.durable) for entry in found] == wanted
    assert [entry.sequence for entry in found] == list(range(1, len(wanted) + 1))
    assert len(segment_paths(tmp_path)) > 2
