"""The kill switch of one session: nothing goes out, entry orders are cancelled, positions are closed on demand.

The file is the order, the journal the acknowledgement: a setting that the journal does not hold yet is carried out,
whether it came while the trader ran or while it was dead. Everything still to do is read from the session's state
(working orders, open positions), so that a crash at any place only leaves work that the next call finds again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from core.clock import NANOSECONDS, Clock, to_rfc3339
from core.crash_points import reach
from core.errors import TidegateError, UsageError
from core.files import write_json
from core.logging import get_logger
from trading import records
from trading.control.setting import KillSwitchFile, KillSwitchSetting
from trading.desk import Desk
from trading.oms.order import Order
from trading.risk.breach import Breach
from trading.risk.parameters import BreachAction, RiskState

__all__ = ["REASON", "KillSwitch", "KillSwitchFile", "KillSwitchSetting"]

_log = get_logger("trading")
REASON = "KILL_SWITCH"  # of the risk state HALTED
BREACH = "breach"  # who turned it, where no person did
LOOK_SECONDS = 0.1  # of the machine's time between two looks at the file
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0

Stop = Callable[[str], Awaitable[object]]


class KillSwitch:
    """Follows the file, carries settings out through the desk, and tries again while the broker is away.

    Args:
        path: of the file shared by all traders of the state directory.
        desk: of the session.
        clock: of the session; retries are timed by it.
        acknowledgement: file that says what became of the setting, for the command line; None writes none.
    """

    def __init__(self, path: Path, desk: Desk, clock: Clock, acknowledgement: Path | None = None) -> None:
        self._file = KillSwitchFile(path)
        self._desk = desk
        self._clock = clock
        self._acknowledgement = acknowledgement
        self._told: dict[str, Any] = {}
        self._working = asyncio.Lock()
        self._stamp: tuple[int, int, int] | None = None  # None: the file was not looked at yet
        self.next_look = 0.0  # of ``poll`` at the file, by the machine's monotonic clock
        self._next_try_ns = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._trouble = ""
        self._asked = False  # whether the broker answered every question since the newest setting, in this process
        self._foreign: set[str] = set()  # somebody else's orders that the newest setting found, in this process
        self._cancelled = 0
        self._flattened = 0
        self.before_cancelling: list[Stop] = []  # what else sends orders (execution plans) and must stop first

    @property
    def engaged(self) -> bool:
        """Whether the session's newest setting is on."""
        setting = self._desk.state.kill_switch
        return setting is not None and setting.on

    @property
    def done(self) -> bool:
        """Whether nothing of the newest setting is left to do."""
        state = self._desk.state
        if state.kill_switch is None:
            return True
        if not state.kill_switch.on:
            return state.risk_reason != REASON
        if not self._asked or state.risk_state is not RiskState.HALTED or self._working_orders():
            return False
        return not (state.kill_switch.flatten and state.positions.held())

    async def poll(self) -> None:
        """Look at the file now and then, and go on with what is not done. Cheap: for after every event."""
        moment = time.monotonic()
        if moment >= self.next_look:
            self.next_look = moment + LOOK_SECONDS
            stamp = self._file.stamp()
            if stamp != self._stamp:
                self._stamp = stamp
                await self._follow(self._file.read())
        state = self._desk.state.kill_switch
        if state is not None and self._clock.time_ns() >= self._next_try_ns and not self.done:
            await self.carry_on()

    async def engage(self, setting: KillSwitchSetting) -> None:
        """Turn the switch on: from this call on nothing goes out. Repeating it changes nothing.

        Returns when everything is done or the broker was asked in vain; then ``poll`` tries again.
        """
        self._note(setting)
        await self.carry_on()

    async def trip(self, breach: Breach, now_ns: int) -> None:
        """Do what a breach asks for: fewer orders from now on, or the switch itself."""
        if breach.action is BreachAction.REDUCE:
            self._desk.halt(breach.reason, breach.words, RiskState.REDUCING)
            return
        flatten = breach.action is BreachAction.FLATTEN
        await self.engage(KillSwitchSetting(True, flatten, f"{breach.reason}: {breach.words}", BREACH, now_ns))

    async def lift(self, reason: str, by: str) -> None:
        """Turn the switch off. Only a person does it; drawdown counts anew from here.

        Raises:
            UsageError: without a reason it stays on.
        """
        if not reason.strip():
            raise UsageError("lifting the kill switch needs a reason: it is kept in the journal")
        self._note(KillSwitchSetting(False, False, reason, by, self._clock.time_ns()))
        await self.carry_on()

    async def carry_on(self) -> None:
        """Do what is left of the newest setting, after a restart too; on failure note when to try again."""
        async with self._working:
            setting = self._desk.state.kill_switch
            if setting is None:
                return
            try:
                if setting.on:
                    await self._stop(setting)
                    self._asked = True
                elif self._desk.state.risk_reason == REASON:
                    self._lift_state(setting)
                self._trouble = ""
            except TidegateError as error:
                self._trouble = error.message
            if self.done:
                self._pause, self._next_try_ns = FIRST_PAUSE_SECONDS, 0
            else:
                self._next_try_ns = self._clock.time_ns() + round(self._pause * NANOSECONDS)
                self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
                _log.error("kill switch not finished", words=self._trouble or "orders or positions are left")
            self._acknowledge()

    def describe(self) -> dict[str, Any]:
        """Return the switch for ``/status``, ``/healthz`` and the command line."""
        state = self._desk.state
        setting = state.kill_switch
        if setting is None:
            return {"on": False, "done": True}
        picture: dict[str, Any] = {
            "on": setting.on,
            "flatten": setting.flatten,
            "reason": setting.reason,
            "by": setting.by,
            "since": to_rfc3339(setting.time_ns),
            "time_ns": setting.time_ns,
            "done": self.done,
            "state": state.risk_state.value,
            "cancelled": self._cancelled,
            "flattened": self._flattened,
            "working_orders": [order.key for order in self._working_orders()],
            "positions": {name: str(units) for name, units in state.positions.held().items()},
            "trouble": self._trouble,
        }
        if not picture["done"] and self._next_try_ns:
            picture["next_try"] = to_rfc3339(self._next_try_ns)
        return picture

    async def _follow(self, wanted: KillSwitchSetting | None) -> None:
        """Bring the session to what the file says."""
        known = self._desk.state.kill_switch
        if wanted is None:
            if known is not None and known.on:
                self._write(KillSwitchSetting.of(known))  # the journal holds it: a lost file lifts nothing
            return
        news = not wanted.same_as(known) or (wanted.flatten and known is not None and not known.flatten)
        if news and (wanted.on or (known is not None and known.on)):
            self._note(wanted)
            await self.carry_on()
        else:
            self._acknowledge()

    def _note(self, setting: KillSwitchSetting) -> None:
        """Write a setting into file and journal and change the risk state. No await: nothing can come in between."""
        known = self._desk.state.kill_switch
        flatten = setting.flatten or (setting.on and known is not None and known.on and known.flatten)
        setting = KillSwitchSetting(setting.on, flatten, setting.reason, setting.by, setting.time_ns)
        if self._file.read() != setting:
            self._write(setting)
        if not setting.same_as(known) or (known is not None and known.flatten != flatten):
            self._desk.commit(records.KillSwitchSet(setting.on, flatten, setting.time_ns, setting.reason, setting.by))
            reach("kill_switch.written")
            if known is None or not known.on:
                self._cancelled = self._flattened = 0
            _log.error("kill switch", on=setting.on, flatten=flatten, reason=setting.reason, by=setting.by)
        self._asked = False
        self._pause, self._next_try_ns = FIRST_PAUSE_SECONDS, 0
        if setting.on:
            self._desk.halt(REASON, setting.reason)

    def _write(self, setting: KillSwitchSetting) -> None:
        if setting.by == BREACH and setting.flatten:
            # Other traders of this state directory are held by it; their positions are no part of this account's loss.
            setting = KillSwitchSetting(setting.on, False, setting.reason, setting.by, setting.time_ns)
        try:
            self._file.set(setting)
            self._stamp = self._file.stamp()
        except OSError as error:
            _log.error("kill switch file cannot be written: the journal holds it", words=str(error))

    async def _stop(self, setting: records.KillSwitchSet) -> None:
        desk, state = self._desk, self._desk.state
        desk.halt(REASON, setting.reason)
        for stop in self.before_cancelling:
            await stop("kill switch")
        await desk.catch_up()  # a fill that nobody told us of is a position to close
        words = f"kill switch: {setting.reason}"
        self._cancelled += await desk.cancel_all(words)
        # The account stops, not only the session: what somebody else left standing is cancelled too.
        await desk.list_orders()
        self._foreign = {o.key for o in state.book.open() if o.request is None and not o.protective}
        if self._foreign:
            self._cancelled += await desk.cancel_all(words)
        reach("kill_switch.cancelled")
        if setting.flatten and state.positions.held():
            # The key is that of the setting: after a crash the same orders are asked about, not sent again.
            self._flattened += await desk.flatten(f"kill-switch:{setting.time_ns}", words)

    def _lift_state(self, setting: records.KillSwitchSet) -> None:
        now = self._clock.time_ns()
        words = f"{setting.by}: {setting.reason}"
        self._desk.commit(records.RiskStateChanged(RiskState.ACTIVE, now, "LIFTED", words, by_hand=True))
        _log.warning("risk state changed", state=RiskState.ACTIVE.value, reason="LIFTED", words=words)

    def _working_orders(self) -> list[Order]:
        """Orders that are not settled: our own, and somebody else's that stood when the switch was carried out.

        Stops and targets of a position are not among them, nor what a person places by hand afterwards.
        """
        return [order for order in self._desk.state.book.open() if order.entry or order.key in self._foreign]

    def _acknowledge(self) -> None:
        if self._acknowledgement is None:
            return
        picture = self.describe()
        if picture != self._told:
            try:
                write_json(self._acknowledgement, picture)
                self._told = picture
            except OSError as error:
                _log.error("acknowledgement of the kill switch cannot be written", words=str(error))
