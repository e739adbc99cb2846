"""The assignment of decisions: exact shares, sticky cells, nobody handed back when a share grows, the same anywhere."""

import hashlib
import subprocess
import sys

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.traffic.assignment import assigned, block_of, challenger_rows
from serving.traffic.policy import Arm, Mode, Traffic

HOUR = 3600 * 10**9
names = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n"), max_size=12)
shares = st.floats(0.0, 1.0)
times = st.integers(0, 4 * 10**18)


def canary(share: float, salt: str = "", block_seconds: int = 3600) -> Traffic:
    return Traffic(mode=Mode.CANARY, share=share, salt=salt, block_seconds=block_seconds)


@settings(deadline=None)
@given(names, names, st.text(max_size=12), times, shares, shares)
def test_raising_the_share_never_hands_a_cell_back(
    salt: str, strategy: str, instrument: str, time_ns: int, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    if assigned(canary(low, salt), strategy, instrument, time_ns) is Arm.CHALLENGER:
        assert assigned(canary(high, salt), strategy, instrument, time_ns) is Arm.CHALLENGER


@settings(deadline=None)
@given(names, names, times, st.integers(1, 10**6), shares, st.data())
def test_a_cell_keeps_its_arm_for_its_whole_block(
    salt: str, instrument: str, time_ns: int, block_seconds: int, share: float, data: st.DataObject
) -> None:
    traffic = canary(share, salt, block_seconds)
    start = block_of(traffic, time_ns) * block_seconds * 10**9
    later = start + data.draw(st.integers(0, block_seconds * 10**9 - 1))
    assert assigned(traffic, "s", instrument, time_ns) is assigned(traffic, "s", instrument, later)


@settings(deadline=None)
@given(names, shares, times, st.lists(names, min_size=1, max_size=70))
def test_all_rows_at_once_say_the_same_as_one_by_one(
    salt: str, share: float, time_ns: int, instruments: list[str]
) -> None:
    traffic = canary(share, salt)
    rows = challenger_rows(traffic, "s", tuple(instruments), time_ns) or bytes(len(instruments))
    one_by_one = [assigned(traffic, "s", name, time_ns) is Arm.CHALLENGER for name in instruments]
    assert [bool(value) for value in rows] == one_by_one


@settings(deadline=None)
@given(names, names, st.text(st.characters(blacklist_categories=["Cs"]), max_size=12), times, st.integers(1, 10**6))
def test_the_guides_formula_gives_the_same_arm(
    salt: str, strategy: str, instrument: str, time_ns: int, block_seconds: int
) -> None:
    block = time_ns // (block_seconds * 10**9)
    text = f"{salt}\n{strategy}\n{instrument}\n{block}"
    point = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) / 2**64
    for share in (0.05, 0.25, 0.5):
        found = assigned(canary(share, salt, block_seconds), strategy, instrument, time_ns)
        assert found is (Arm.CHALLENGER if point < share else Arm.CHAMPION)


def test_points_are_uniform_and_two_releases_do_not_hit_the_same_cells() -> None:
    cells = [(f"I{number:03d}", block * HOUR) for number in range(100) for block in range(400)]
    taken = {
        salt: np.array([assigned(canary(0.25, salt), "s", name, at) is Arm.CHALLENGER for name, at in cells])
        for salt in ("release 1", "release 2")
    }
    for hits in taken.values():
        # 40,000 fixed cells: five standard deviations of a fair draw; a seedless value, it does not change.
        assert abs(hits.mean() - 0.25) < 5 * (0.25 * 0.75 / len(cells)) ** 0.5
        for part in hits.reshape(100, 400), hits.reshape(100, 400).T:  # per instrument and per block too
            spread = part.mean(axis=1).std() * part.shape[1] ** 0.5 / (0.25 * 0.75) ** 0.5
            assert 0.7 < spread < 1.3
    both = (taken["release 1"] & taken["release 2"]).mean()
    assert abs(both - 0.0625) < 0.01


def test_another_process_with_another_hash_seed_assigns_the_same() -> None:
    program = (
        "from serving.traffic.assignment import assigned\n"
        "from serving.traffic.policy import Mode, Traffic\n"
        "t = Traffic(mode=Mode.AB, share=0.4, salt='x')\n"
        "print(''.join(assigned(t, 's', f'I{i}', i * 10**13)[3] for i in range(200)))"
    )
    traffic = Traffic(mode=Mode.AB, share=0.4, salt="x")
    here = "".join(assigned(traffic, "s", f"I{index}", index * 10**13)[3] for index in range(200))
    environment = {"PYTHONHASHSEED": "12345", "PYTHONPATH": ":".join(path for path in sys.path if path)}
    there = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert there.stdout.strip() == here
    assert set(here) == {"m", "l"}  # the fourth letters of champion and challenger
