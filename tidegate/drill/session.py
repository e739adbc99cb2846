"""One seed: broker and trader in processes of their own, kills and faults as planned, and the verdict at the end."""

import contextlib
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from core.errors import ExitCode, TidegateError, UnavailableError
from core.files import read_json
from tidegate.drill.checker import Verdict, check_orders, check_session, compare_ledgers
from tidegate.drill.databases import SeedDatabase
from tidegate.drill.market import INSTRUMENTS, START_NS
from tidegate.drill.plan import LifePlan, SeedPlan
from tidegate.drill.processes import (
    ACCOUNT,
    TOKEN,
    BrokerOrder,
    Life,
    TraderOrder,
    fork,
    run_broker,
    run_trader_life,
    spawn,
)
from tidegate.drill.sources import BrokerPages, JournalFacts
from tidegate.drill.tear import tear_tail
from trading.control.setting import KillSwitchFile, KillSwitchSetting

_POLL_SECONDS = 0.002
_END_SECONDS = 0.25
_LONGEST_LIFE = 60.0
_CLOCK_SECONDS = 5.0
_MOST_LIVES = 30


class LifeResult(msgspec.Struct, frozen=True, kw_only=True):
    """How one life went."""

    crash_point: str
    outcome: str  # struck, killed, ended, unavailable
    cold: bool
    resumed: bool
    imports: float = 0.0  # seconds from the start of the process to its imports being done
    recovery: float = 0.0  # seconds from there to trading again; 0 where it was killed before
    faults: int = 0


class SeedResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one seed."""

    seed: int
    style: str
    database: str
    seconds: float
    lives: tuple[LifeResult, ...]
    orders: int
    fills: int
    broker_restarts: int
    tears: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Surroundings:
    """What all seeds of a worker share."""

    state_path: Path
    template: Path  # a migrated, empty SQLite ledger
    postgres: str = ""  # connection string of the shared server; empty: there is none


class SeedSession:
    """Runs one seed in a folder."""

    def __init__(self, plan: SeedPlan, folder: Path, surroundings: Surroundings) -> None:
        self._plan = plan
        self._folder = folder
        self._around = surroundings
        self._chance = random.Random(plan.seed * 31 + 5)
        self._broker_pid = 0
        self._port = 0
        self._lives: list[LifeResult] = []
        self._problems: list[str] = []
        self._verdict = Verdict()
        self._broker_restarts = 0
        self._switch_is_on = False
        self._tears = 0
        self._database = SeedDatabase(plan, folder, surroundings.template, surroundings.postgres)

    def run(self) -> SeedResult:
        """Run the seed to its verdict. What goes wrong is a problem of the result, never an exception."""
        began = time.monotonic()
        self._folder.mkdir(parents=True)
        try:
            self._database.create()
            self._start_broker()
            self._lives_of_plan()
            if not self._problems:
                self._end()
        except (TidegateError, OSError) as error:
            self._problems.append(f"the drill could not go on: {getattr(error, 'message', error)}")
        finally:
            self._stop_broker()
            self._database.drop(keep=bool(self._problems))
        return SeedResult(
            seed=self._plan.seed,
            style=self._plan.style.value,
            database=self._database.kind.value,
            seconds=time.monotonic() - began,
            lives=tuple(self._lives),
            orders=self._verdict.orders,
            fills=self._verdict.fills,
            broker_restarts=self._broker_restarts,
            tears=self._tears,
            problems=tuple(self._problems),
        )

    def _lives_of_plan(self) -> None:
        for life in self._plan.lives:
            if self._live(life) == "ended" or self._problems:
                return

    # -- the broker ----------------------------------------------------------------------------------------------

    @property
    def _pages(self) -> BrokerPages:
        return BrokerPages(self._url, TOKEN, ACCOUNT)

    @property
    def _tolerance_ns(self) -> int:
        """How far two clocks that run ``speed`` times as fast as the machine's may differ."""
        return round(self._plan.speed * _CLOCK_SECONDS * 1e9)

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _start_broker(self) -> None:
        order = BrokerOrder(
            folder=str(self._folder),
            seed=self._plan.seed,
            steps=self._plan.steps,
            instruments=INSTRUMENTS,
            start_ns=START_NS,
            port=self._port,
            speed=self._plan.speed,
            keeps_state=self._plan.keeps_broker_state,
        )
        ready = self._folder / "broker.json"
        ready.unlink(missing_ok=True)
        self._broker_pid = fork(lambda: run_broker(order), self._folder / "broker.log")
        deadline = time.monotonic() + 20.0
        while not ready.exists():
            if time.monotonic() > deadline or os.waitpid(self._broker_pid, os.WNOHANG)[0]:
                raise UnavailableError(f"the practice broker did not start: see {self._folder / 'broker.log'}")
            time.sleep(_POLL_SECONDS)
        self._port = int(str(read_json(ready)["rest_url"]).rpartition(":")[2])

    def _stop_broker(self) -> None:
        if self._broker_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._broker_pid, signal.SIGKILL)
            os.waitpid(self._broker_pid, 0)
            self._broker_pid = 0

    def _restart_broker(self) -> None:
        self._stop_broker()
        self._start_broker()
        self._broker_restarts += 1

    def _arm_faults(self, faults: tuple[dict[str, Any], ...]) -> None:
        for fault in faults:
            self._pages.request("POST", "/admin/faults", fault)

    # -- the trader ----------------------------------------------------------------------------------------------

    def _live(self, life: LifePlan, cold: bool = False) -> str:
        """Run one life and what follows its kill; return how it ended."""
        self._arm_faults(life.faults)
        if life.switch_off:
            self._switch("", "the drill goes on")
        started = time.monotonic()
        pid, number = self._start_trader(life.crash_point, cold)
        kill_at = started + life.kill_after if life.kill_after else 0.0
        down_at = started + self._chance.uniform(0.0, 0.3) if life.database_down else 0.0
        switch_after = self._chance.uniform(0.0, 0.1) if life.switch_on else -1.0
        look_at = started + _END_SECONDS if self._plan.speed else 0.0
        killed, status = False, None
        while status is None:
            found, code = os.waitpid(pid, os.WNOHANG)
            now = time.monotonic()
            if found:
                status = code
            elif kill_at and now >= kill_at:
                os.kill(pid, signal.SIGKILL)
                killed, kill_at = True, 0.0
            elif down_at and now >= down_at:
                self._database.take_away()
                down_at = 0.0
            elif switch_after >= 0 and (trading := self._measured(number).trading) and now >= trading + switch_after:
                self._switch(life.switch_on, "the drill says stop")
                switch_after = -1.0
            elif look_at and now >= look_at:
                if self._measured(number).trading and self._pages.request("GET", "/admin/state")["end"]:
                    os.kill(pid, signal.SIGTERM)  # a live feed never ends by itself: somebody ends the session
                    look_at = 0.0
                else:
                    look_at = now + _END_SECONDS
            elif not (kill_at or look_at) and now - started > _LONGEST_LIFE:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                self._problems.append(f"life {number} hung for {_LONGEST_LIFE:g} s: see trader.log")
                status = -1
            else:
                time.sleep(_POLL_SECONDS)
        self._database.give_back()
        outcome = self._outcome(status, killed, number)
        self._note(life, number, outcome, cold)
        if outcome in ("struck", "killed"):
            self._after_kill(life)
        return outcome

    def _start_trader(self, crash_point: str, cold: bool) -> tuple[int, int]:
        number = len(self._lives)
        order = TraderOrder(
            folder=str(self._folder),
            url=self._url,
            life=number,
            state_path=str(self._around.state_path),
            session_id=f"drill-{self._plan.seed}",
            database_url=self._database.url,
            crash_point=crash_point,
            style=self._plan.style.value,
            started=time.monotonic(),
            segment_bytes=self._plan.segment_bytes,
            speed=self._plan.speed,
        )
        log = self._folder / "trader.log"
        return (spawn(order, log) if cold else fork(lambda: run_trader_life(order), log)), number

    def _outcome(self, status: int, killed: bool, number: int) -> str:
        if status >= 0 and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            return "killed" if killed else "struck"
        code = os.waitstatus_to_exitcode(status) if status >= 0 else 1
        if code == ExitCode.OK:
            return "ended"
        if code == ExitCode.UNAVAILABLE:
            return "unavailable"
        if not self._problems:
            self._problems.append(f"life {number} ended with exit code {code}: {self._last_words()}")
        return "failed"

    def _last_words(self) -> str:
        try:
            lines = (self._folder / "trader.log").read_text(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        return lines[-1][:300] if lines else "no log"

    def _measured(self, number: int) -> Life:
        try:
            return msgspec.json.decode((self._folder / f"life-{number}.json").read_bytes(), type=Life)
        except (OSError, msgspec.DecodeError):  # not written yet, or not whole
            return Life(started=0.0)

    def _switch(self, what: str, reason: str) -> None:
        """Set the kill switch's file as the command line does."""
        setting = KillSwitchSetting(bool(what), what == "flatten", reason, "drill", time.time_ns())
        KillSwitchFile(self._folder / "kill-switch.json").set(setting)
        self._switch_is_on = bool(what)

    def _note(self, life: LifePlan, number: int, outcome: str, cold: bool) -> None:
        measured = self._measured(number)
        recovery = measured.trading - measured.imported if measured.trading else 0.0
        resumed = any(self._lives)
        self._lives.append(
            LifeResult(
                crash_point=life.crash_point.partition(":")[0],
                outcome=outcome,
                cold=cold,
                resumed=resumed,
                imports=measured.imported - measured.started if measured.imported else 0.0,
                recovery=recovery,
                faults=len(life.faults),
            )
        )

    def _after_kill(self, life: LifePlan) -> None:
        """Right after a kill: what is at the broker must be in the journal already. Then tear, then restart."""
        self._pages.request("DELETE", "/admin/faults")  # those that found no request must not strike the checker
        journal = self._folder / "session" / "journal"
        verdict = Verdict()
        check_orders(verdict, self._pages.transactions(), JournalFacts.read(journal, self._tolerance_ns))
        self._problems += [f"after life {len(self._lives) - 1} ({life.crash_point or 'random'}): {words}"
                           for words in verdict.problems]  # fmt: skip
        if life.tear and journal.exists():
            self._tears += tear_tail(journal, self._database.watermark(), self._chance)
        if life.restart_broker:
            self._restart_broker()

    def _end(self) -> None:
        """Let the trader end the session undisturbed, then compare everything."""
        self._pages.request("DELETE", "/admin/faults")
        outcome = "unavailable"
        for _ in range(_MOST_LIVES):
            outcome = self._live(LifePlan(switch_off=self._switch_is_on), cold=self._plan.cold_end)
            if outcome != "unavailable":
                break
        if outcome != "ended":
            self._problems.append(f"the session did not end: {outcome}: {self._last_words()}")
            return
        facts = JournalFacts.read(self._folder / "session" / "journal", self._tolerance_ns)
        self._verdict = check_session(self._pages, self._database.rows(), facts)
        self._problems += self._verdict.problems
        self._check_summary()
        self._check_rebuilt()

    def _check_summary(self) -> None:
        summary = read_json(self._folder / "session" / "summary.json")
        result = summary["reconciliation"]
        if not (result and result["reconciled"]):
            self._problems.append(f"the last reconciliation found: {result and result['differences']}")
        if summary["ledger_complete"] is not True:
            self._problems.append("the ledger was behind the journal at the end")

    def _check_rebuilt(self) -> None:
        from core.database import create_engine
        from trading.ledger import tables
        from trading.ledger.rebuilding import rebuild
        from trading.summary import SummaryCollector, read_state

        journal = self._folder / "session" / "journal"
        url, rebuilt = self._database.second()
        engine = create_engine(url)
        try:
            rebuild(engine, journal, f"drill-{self._plan.seed}")
        finally:
            engine.dispose()
        names = tuple(table.name for table in tables.PROJECTED)
        verdict = Verdict()
        compare_ledgers(verdict, self._database.rows(), rebuilt, names)
        self._problems += verdict.problems
        state, _ = read_state(journal, SummaryCollector("USD"))
        self._problems += [f"an order made an impossible move: {words}" for words in state.violations]
