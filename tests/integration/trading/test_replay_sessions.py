"""A journal gives the same decisions again, byte for byte; where one was changed, the replay says which."""

import asyncio
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_trading_loop_paper import FailingPredictor, trade_on_paper
from trading_session import (
    INSTRUMENTS,
    MomentumPredictor,
    Practice,
    make_config,
    make_feed,
    make_panel,
    practice_settings,
    trade_on_practice,
    write_state,
)

from core.clock import NANOSECONDS, LiveClock
from core.domain import BarKind, Heartbeat, Prediction, PredictionRequest, Quote, default_instrument
from core.errors import BadInputError
from core.journal import Entry, Journal, read_entries, written_bytes
from trading import records
from trading.brokers.oanda import OandaBroker
from trading.brokers.paper import PaperBroker
from trading.control.setting import KillSwitchSetting
from trading.control.standalone import Settled, settle
from trading.feeds.live import LiveFeed
from trading.replay import replay_session
from trading.trader import run_trader

PROGRAM = Path(__file__).with_name("trader_process.py")


@pytest.fixture(scope="module")
def paper_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session on the paper broker whose predictor was away for some steps."""
    folder = tmp_path_factory.mktemp("replayed")
    panel = make_panel(BarKind.FIXING, 20)
    config = make_config(folder, BarKind.FIXING)
    write_state(panel, config.feature_set, config.state_path)
    asyncio.run(trade_on_paper(config, panel, FailingPredictor(config.feature_set, range(5, 9))))
    return config.session_directory


async def test_a_paper_session_is_made_again(paper_session: Path) -> None:
    seen: list[int] = []
    report = await replay_session(paper_session, progress=lambda done, _: seen.append(done))
    assert report.equal, report.difference.lines() if report.difference else ""
    assert report.entries == sum(1 for _ in read_entries(paper_session / "journal"))
    assert report.records["submitted"] > 10
    assert report.processes == 1
    assert report.given < report.entries // 10  # the rest was made again


async def test_predictions_are_made_again_and_compared(paper_session: Path) -> None:
    report = await replay_session(paper_session, again=MomentumPredictor("fixings"))
    assert report.equal
    assert report.recomputed == 16 * len(INSTRUMENTS)


class OtherModel(MomentumPredictor):
    """A model that changed its mind about one instrument."""

    async def predict(self, request: PredictionRequest) -> list[Prediction]:
        answers = await super().predict(request)
        first = answers[0]
        changed = Prediction(
            first.decision_id,
            first.instrument,
            first.time_ns,
            first.probability_short + 1e-12,
            first.probability_flat,
            first.probability_long,
            first.model_name,
            first.model_version,
            first.model_digest,
            answered_by=first.answered_by,
        )
        return [changed, *answers[1:]]


async def test_another_model_is_found_at_its_first_prediction(paper_session: Path) -> None:
    report = await replay_session(paper_session, again=OtherModel("fixings"))
    first = next(entry for entry in read_entries(paper_session / "journal") if entry.kind == "predictions")
    assert report.difference is not None
    assert report.difference.sequence == first.sequence
    assert [item.field for item in report.difference.fields] == ["predictions[0].probability_short"]


def rewrite(session: Path, target: Path, kind: str, number: int, change: dict[str, object]) -> int:
    """Copy a session with one record changed; return the changed entry's sequence."""
    import msgspec

    shutil.copytree(session, target, ignore=shutil.ignore_patterns("journal"))
    changed = 0
    with Journal(target / "journal") as journal:
        for entry in read_entries(session / "journal"):
            payload = entry.payload
            if entry.kind == kind:
                number -= 1
                if number == 0:
                    record = records.decode(Entry(entry.sequence, entry.time_ns, entry.kind, payload, False))
                    payload = records.encode(msgspec.structs.replace(record, **change))
                    changed = entry.sequence
            journal.append(entry.kind, payload, entry.time_ns)
    return changed


@pytest.mark.parametrize(
    ("kind", "number", "change", "field"),
    [
        ("decision", 17, {"reason": "because I say so"}, "reason"),
        ("submitted", 5, {"bid": 1.0}, "bid"),
        ("step_done", 9, {"equity": 1e6}, "equity"),
    ],
)
async def test_a_planted_change_is_found(
    paper_session: Path, tmp_path: Path, kind: str, number: int, change: dict[str, object], field: str
) -> None:
    sequence = rewrite(paper_session, tmp_path / "session", kind, number, change)
    report = await replay_session(tmp_path / "session")
    assert not report.equal
    assert report.difference is not None
    assert report.difference.sequence == sequence
    assert report.difference.recorded_kind == report.difference.replayed_kind == kind
    assert [item.field for item in report.difference.fields] == [field]
    assert field in "\n".join(report.difference.lines())


async def test_up_to_an_entry_only(paper_session: Path) -> None:
    report = await replay_session(paper_session, until=200)
    assert (report.equal, report.entries) == (True, 200)


async def test_what_is_no_session_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no journal"):
        await replay_session(tmp_path)
    with Journal(tmp_path / "journal") as journal:
        journal.append("step_missed", records.encode(records.StepMissed(1, "x")), 1)
    with pytest.raises(BadInputError, match="holds no session"):
        await replay_session(tmp_path)


def test_a_practice_session_killed_at_random_moments_is_made_again(tmp_path: Path) -> None:
    kind = BarKind.BAR
    panel = make_panel(kind, 16)
    config = make_config(tmp_path, kind)
    write_state(panel, config.feature_set, config.state_path)
    journal = config.session_directory / "journal"
    chance = random.Random(11)
    kills = 0
    with Practice(make_feed(panel)) as practice:
        while kills < 2:
            process = start(tmp_path, practice.url, kind)
            before = written_bytes(journal)
            while process.poll() is None and written_bytes(journal) <= before + 9000:
                time.sleep(0.002)
            time.sleep(chance.uniform(0.0, 0.05))
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
        assert kills
        asyncio.run(trade_on_practice(config, practice.url, MomentumPredictor(config.feature_set)))
    report = asyncio.run(replay_session(config.session_directory, again=MomentumPredictor(config.feature_set)))
    assert report.equal, report.difference.lines() if report.difference else ""
    assert report.processes == kills + 1
    assert report.records["submitted"] > 5


def test_what_a_command_did_in_the_trader_s_place_is_given(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, 12)
    config = make_config(tmp_path, BarKind.FIXING)
    write_state(panel, config.feature_set, config.state_path)
    predictor = MomentumPredictor(config.feature_set)
    with Practice(make_feed(panel)) as practice:
        asyncio.run(trade_on_practice(config, practice.url, predictor))
        settled = asyncio.run(flatten_alone(config.session_directory, practice.url))
        assert settled.done and settled.flattened and settled.reconciled
        asyncio.run(trade_on_practice(config, practice.url, predictor))  # starts on what the command left
    report = asyncio.run(replay_session(config.session_directory))
    assert report.equal, report.difference.lines() if report.difference else ""
    assert report.processes == 2
    assert report.records["settled_by_hand"] == 1


async def flatten_alone(session: Path, url: str) -> Settled:
    clock = LiveClock()
    broker = OandaBroker(practice_settings(url), clock, settle_seconds=0.05)
    await broker.connect()
    try:
        setting = KillSwitchSetting(True, True, "drill", "somebody", clock.time_ns())
        return await settle(session, setting, session.parent / "kill-switch.json", broker, clock)
    finally:
        await broker.close()


def start(folder: Path, url: str, kind: BarKind) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), url, kind.value, "-"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


async def test_a_session_on_the_machine_s_clock_is_made_again(tmp_path: Path) -> None:
    """One-second bars of a live feed, the paper account's own event stream beside the loop, stopped by hand."""
    panel = make_panel(BarKind.BAR, 1)
    config = make_config(
        tmp_path, BarKind.BAR, bar_seconds=1, follow_events=True, maximum_decision_age_seconds=5.0, status_port=None
    )
    clock = LiveClock()
    write_live_state(panel, config, clock.time_ns())
    broker = PaperBroker({name: default_instrument(name) for name in INSTRUMENTS}, clock)
    feed = LiveFeed(broker, clock, INSTRUMENTS, silence_seconds=0.1, grace_seconds=0.05)
    prices = {name: float(panel.values[-1, index, 3]) for index, name in enumerate(INSTRUMENTS)}
    loops: list[object] = []

    async def market() -> None:
        chance = random.Random(5)
        end = clock.time_ns() + 4 * NANOSECONDS
        while clock.time_ns() < end:
            for name in INSTRUMENTS:
                prices[name] *= 1.0 + chance.gauss(0.0, 0.002)
                now = clock.time_ns()
                bid = round(prices[name], default_instrument(name).display_precision)
                broker.on_quote(Quote(name, now, now, bid, bid + float(default_instrument(name).pip), simulated=True))
            broker.on_heartbeat(Heartbeat(clock.time_ns(), clock.time_ns()))
            await asyncio.sleep(0.02)
        loops[0].stop()  # type: ignore[attr-defined]

    ticking = asyncio.create_task(market())
    summary = await run_trader(
        config,
        broker,
        MomentumPredictor(config.feature_set),
        clock,
        feed,
        handle_signals=False,
        started=lambda loop, _: loops.append(loop),
    )
    await ticking
    await broker.close()
    assert summary.steps >= 2
    assert summary.orders > 0
    report = await replay_session(config.session_directory)
    assert report.equal, report.difference.lines() if report.difference else ""


def write_live_state(panel, config, now_ns: int) -> None:  # type: ignore[no-untyped-def]
    """The feature state as if the panel had ended a second ago, so that nothing has to be filled in."""
    from core.domain import Panel

    times = now_ns // NANOSECONDS * NANOSECONDS + (panel.time_ns - panel.time_ns[-1]) // 3600
    shifted = Panel(panel.instruments, times, panel.arrival_ns, panel.values, panel.kind)
    write_state(shifted, config.feature_set, config.state_path)
