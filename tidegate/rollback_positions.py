"""Open positions at a rollback: kept, only to be lowered, or closed. Written down for the traders, never waited for.

The kill switch is what all traders of a state directory follow within a tenth of a second, and what one that is not
running finds at its next start: a dead trader blocks no rollback.
"""

from core.settings import Settings
from serving.release.rollback_completion import Action
from serving.release.rollback_record import Positions, RollbackRecord
from tidegate.kill_switch import look, write_switch
from trading.control.setting import KillSwitchFile, KillSwitchSetting, switch_path

BY = "rollback"


def positions_action(settings: Settings) -> Action:
    """Return the action that carries out ``rollback.positions``.

    Raises (the action):
        UnavailableError: the kill switch cannot be written.
    """

    def act(record: RollbackRecord) -> str:
        if record.positions is Positions.KEEP:
            if record.target is None:
                return "kept: nobody decides on them; their stops and targets stay with the broker"
            return f"kept: {record.target_words} decides on them from its next answer on"
        flatten = record.positions is Positions.FLATTEN
        reason = f"rollback {record.rollback_id} of {record.strategy}: {record.trigger.words}"
        setting = KillSwitchSetting(True, flatten, reason, BY, record.time_ns)
        standing = KillSwitchFile(switch_path(settings.state)).read()
        if standing is not None and standing.same_as(setting):
            pass  # written before a kill
        elif standing is not None and standing.time_ns > record.time_ns:
            return (
                f"left alone: {standing.by} turned the kill switch {'on' if standing.on else 'off'} after the rollback"
            )
        elif standing is None or not standing.on or (flatten and not standing.flatten):
            write_switch(settings.state, setting)
        what = "closed" if flatten else "held (entry orders are cancelled, no order goes out: they can only fall)"
        running = [place.session_id for place in look(settings).traders]
        if running:
            return f"{what} by {', '.join(running)}; lift it with `tidegate kill-switch off --reason …`"
        if record.target is None:
            flag = " --flatten" if flatten else ""
            return (
                "not touched: no trader runs, and none starts while nobody answers; act on the account by name: "
                f"`tidegate kill-switch on{flag} --broker NAME --reason …`"
            )
        return (
            f"to be {what} by the next start of a trader: none runs; lift it with `tidegate kill-switch off --reason …`"
        )

    return act
