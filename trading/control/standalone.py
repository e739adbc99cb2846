"""Turn the kill switch where no trader runs: it died with positions open, and somebody acts from a command line."""

from pathlib import Path

import msgspec

from core.clock import Clock
from core.errors import RefusedError, TidegateError
from core.journal import Journal
from core.logging import get_logger
from trading import records
from trading.brokers.interface import Broker
from trading.control.kill_switch import KillSwitch, KillSwitchSetting
from trading.control.sessions import acknowledgement_path
from trading.desk import Desk
from trading.latency import LatencyRecorder
from trading.metrics import TraderMetrics
from trading.reconciliation.start import reconcile
from trading.risk.parameters import RiskParameters
from trading.summary import SummaryCollector, read_state

_log = get_logger("trading")
ATTEMPTS = 5
PAUSE_SECONDS = 1.0


class Settled(msgspec.Struct, frozen=True):
    """What was done to one session without its trader.

    Attributes:
        session_id: the session.
        done: whether nothing is left of the setting.
        cancelled: orders the broker took back.
        flattened: positions that were closed.
        reconciled: whether our books and the broker's were the same afterwards.
        working_orders: client ids of what still stands.
        positions: signed units still held.
        words: what is wrong; empty where all is done.
    """

    session_id: str
    done: bool
    cancelled: int
    flattened: int
    reconciled: bool
    working_orders: list[str]
    positions: dict[str, str]
    words: str


async def settle(
    session_directory: Path, setting: KillSwitchSetting, switch: Path, broker: Broker, clock: Clock
) -> Settled:
    """Open a dead session's journal, catch up with the broker, cancel, close what was asked for, and compare.

    Everything goes through the same desk and journal as in a running trader, so that the next start finds a session
    that is held, with each of these orders and fills in its books.

    Args:
        session_directory: of the session.
        setting: the switch as it was set; it is on.
        switch: file of the kill switch.
        broker: the session's account, connected.
        clock: the machine's.

    Raises:
        RefusedError: a trader runs the session after all, or there is no such session.
        IntegrityError: the journal is damaged.
        UnavailableError: the broker does not answer.
    """
    directory = session_directory / "journal"
    if not directory.is_dir():
        raise RefusedError(f"no session in {session_directory}: name one that has traded")
    with Journal(directory) as journal:
        account = await broker.account()
        state, _ = read_state(directory, SummaryCollector(account.currency))
        if not state.opened:
            raise RefusedError(f"session {session_directory.name} never began: there is nothing to cancel")
        desk = Desk(
            broker,
            journal,
            clock,
            state,
            await broker.instruments(),
            RiskParameters(),
            account.currency,
            LatencyRecorder(),
            TraderMetrics(),
        )
        kill_switch = KillSwitch(switch, desk, clock, acknowledgement_path(session_directory))
        # Nobody's quotes and no loop stand behind what follows: whoever reads the journal must know.
        desk.commit(records.SettledByHand(clock.time_ns(), setting.reason, setting.by))
        trouble = ""
        # The hold is written before anything is asked: whatever fails later, the next start takes no risk.
        await kill_switch.engage(setting)
        for _ in range(ATTEMPTS):
            try:
                result = await reconcile(broker, desk, clock, "start")
                trouble = "; ".join(result.differences)
            except TidegateError as error:
                result, trouble = None, error.message
            if kill_switch.done and result is not None:
                break
            await clock.sleep(PAUSE_SECONDS)
            await kill_switch.carry_on()
        else:
            result = None
        desk.flush()
        picture = kill_switch.describe()
    return Settled(
        session_id=session_directory.name,
        done=bool(picture["done"]),
        cancelled=int(picture["cancelled"]),
        flattened=int(picture["flattened"]),
        reconciled=result is not None and result.reconciled,
        working_orders=list(picture["working_orders"]),
        positions=dict(picture["positions"]),
        words=str(picture["trouble"]) or trouble,
    )
