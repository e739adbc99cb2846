"""Upkeep of a replayed session: kill switch and plans are worked off again, comparisons are taken from the journal."""

from trading import records
from trading.control.kill_switch import KillSwitchSetting
from trading.execution.plan import PlanOutcome
from trading.replay.recording import Recording
from trading.replay.sources import is_reconciliation
from trading.upkeep import Upkeep


class ReplayUpkeep(Upkeep):
    """Does after every event what the session did; the outside is the journal.

    Attributes:
        recording: of the session; set before anything is called.
    """

    recording: Recording

    async def begin(self) -> None:
        """What a start had to finish."""
        await self._follow_switch()
        await self.kill_switch.carry_on()

    def due(self) -> bool:
        """Always: the recording says what comes next."""
        return True

    async def run(self) -> None:
        """What was due, in the session's order."""
        await self._follow_switch()
        await self.executor.run_due()
        self.recording.give_while(is_reconciliation)

    async def tick(self) -> None:
        """What the timer of a live session did while its feed was silent."""
        self.recording.waited()
        words = self._degradation.no_new_risk()
        if words and self._desk.state.plans:
            await self.executor.stop_all(PlanOutcome.STOPPED, words, opening_only=True)
        await self.run()

    async def _follow_switch(self) -> None:
        """Carry out a setting that came from a person, else go on with what is left of the newest one."""
        self.recording.give_pending()
        record = self.recording.current
        if isinstance(record, records.KillSwitchSet) and record.by != "breach":
            await self.kill_switch.engage(
                KillSwitchSetting(record.on, record.flatten, record.reason, record.by, record.time_ns)
            )
        await self.kill_switch.poll()
