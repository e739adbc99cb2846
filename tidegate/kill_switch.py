"""The kill switch from the command line: write it, wait for the traders, or act on an account whose trader is dead."""

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from core.clock import NANOSECONDS, LiveClock, SteadyClock, to_rfc3339
from core.digest import digest_bytes
from core.errors import BadInputError, ConfigurationError, ExitCode, RefusedError, UnavailableError, UsageError
from core.settings import OandaSettings, Settings
from trading.control.sessions import SessionPlace, newest_opening, sessions
from trading.control.setting import KillSwitchFile, KillSwitchSetting, switch_path

if TYPE_CHECKING:
    from tidegate.trader import BrokerName
    from trading.control.standalone import Settled

_LOOK_SECONDS = 0.1
_NAMED = 5  # stopped sessions that a person reads about; all are in the JSON object


class TurnOn(msgspec.Struct, frozen=True):
    """What ``on`` is asked for; see the command's options."""

    reason: str
    flatten: bool = False
    wait_seconds: float = 30.0
    broker: str | None = None
    broker_ready_file: Path | None = None
    session: str | None = None

    @property
    def acts(self) -> bool:
        """Whether an account is named to act on."""
        return self.broker is not None or self.broker_ready_file is not None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The switch and what the sessions say about it.

    Attributes:
        setting: of the file; None where the switch was never touched.
        traders: the sessions that a trader runs, with what they said.
        stopped: sessions without a trader.
        settled: what was done to a dead session's account.
        done: whether everything that was asked for is done.
        words: what the reader must know.
    """

    setting: KillSwitchSetting | None
    traders: tuple[SessionPlace, ...]
    stopped: tuple[SessionPlace, ...]
    settled: "Settled | None" = None
    done: bool = True
    words: str = ""

    @property
    def exit_code(self) -> int:
        """Of the command."""
        return ExitCode.OK if self.done else ExitCode.UNAVAILABLE

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        setting = self.setting
        return {
            "on": setting is not None and setting.on,
            "flatten": setting is not None and setting.flatten,
            "reason": setting.reason if setting else "",
            "by": setting.by if setting else "",
            "since": to_rfc3339(setting.time_ns) if setting else None,
            "done": self.done,
            "traders": [_told(place, setting) for place in self.traders],
            "stopped": [_told(place, setting) for place in self.stopped],
            "settled": msgspec.to_builtins(self.settled) if self.settled else None,
            "words": self.words,
        }


async def turn_on(settings: Settings, wish: TurnOn, say: Callable[[str], None]) -> Outcome:
    """Write the switch, wait for every running trader, and act on the named account if its trader is dead.

    Raises:
        UsageError: no reason.
        RefusedError: the account to act on is of no session here.
        UnavailableError: the switch cannot be written, or the account does not answer.
    """
    setting = KillSwitchSetting(True, wish.flatten, _reason(wish.reason), getpass.getuser(), LiveClock().time_ns())
    write_switch(settings.state, setting)  # before anything that can fail: the hold is what matters
    say(f"the kill switch is on: {switch_path(settings.state)}")
    settled = await _settle(settings, wish, setting, say) if wish.acts else None
    outcome = await _wait(settings, setting, wish.wait_seconds)
    idle = [place.session_id for place in outcome.stopped if settled is None or place.session_id != settled.session_id]
    words: list[str] = []
    if not outcome.traders and settled is None:
        words.append(
            "No trader is running: nothing was cancelled or closed. The switch holds at the next start. To act now "
            "name the account: --broker oanda, or --broker-ready-file FILE"
        )
    elif idle and outcome.traders:
        words.append(f"nothing was cancelled for {len(idle)} stopped session(s)")
    words += [outcome.words] if outcome.words else []
    if settled is not None and not settled.done:
        words.append(f"session {settled.session_id} is not finished: {settled.words or 'orders or positions are left'}")
    return Outcome(
        setting=setting,
        traders=outcome.traders,
        stopped=outcome.stopped,
        settled=settled,
        done=outcome.done and (settled is None or settled.done),
        words="; ".join(words),
    )


async def turn_off(settings: Settings, reason: str, wait_seconds: float) -> Outcome:
    """Turn the switch off and wait until the running traders have taken note.

    Raises:
        UsageError: no reason.
        UnavailableError: the switch cannot be written.
    """
    reason = _reason(reason)
    before = look(settings)
    held = any(place.acknowledged.get("on") for place in (*before.traders, *before.stopped))
    if not held and (before.setting is None or not before.setting.on):
        return Outcome(
            setting=before.setting, traders=before.traders, stopped=before.stopped, words="the switch was not on"
        )
    setting = KillSwitchSetting(False, False, reason, getpass.getuser(), LiveClock().time_ns())
    write_switch(settings.state, setting)
    return await _wait(settings, setting, wait_seconds)


def look(settings: Settings) -> Outcome:
    """Return the switch and the sessions as they are."""
    setting = KillSwitchFile(switch_path(settings.state)).read()
    found = sessions(settings.state)
    return Outcome(
        setting=setting,
        traders=tuple(place for place in found if place.running),
        stopped=tuple(place for place in found if not place.running),
    )


def lift(settings: Settings, session: str, reason: str) -> str:
    """Lift what a stopped session's trader set itself; return the state it was in.

    Raises:
        BadInputError: there is no such session.
        RefusedError: its trader runs, or nothing is restricted.
    """
    from trading.risk.lift import lift_restriction

    places = {place.session_id: place for place in sessions(settings.state)}
    if session not in places:
        raise BadInputError(f"no session {session!r} in {settings.state}: there are {', '.join(places) or 'none'}")
    return lift_restriction(places[session].journal, _reason(reason), LiveClock()).value


def write_switch(state: Path, setting: KillSwitchSetting) -> None:
    """Write the switch of a state directory.

    Raises:
        UnavailableError: it cannot be written.
    """
    path = switch_path(state)
    try:
        KillSwitchFile(path).set(setting)
    except OSError as error:
        raise UnavailableError(
            f"kill switch {path} cannot be written ({error.strerror}): stop the traders by their process ids"
        ) from error


def report(outcome: Outcome) -> str:
    """Return the outcome in words, one line a session."""
    setting = outcome.setting
    if setting is None:
        lines = ["kill switch: off, never used"]
    else:
        state = f"ON{', flatten' if setting.flatten else ''}" if setting.on else "off"
        lines = [f"kill switch: {state} since {to_rfc3339(setting.time_ns)[:19]}Z by {setting.by}: {setting.reason}"]
    # What was left undone and the newest first: a state directory keeps every session it ever had.
    stopped = sorted(outcome.stopped, key=lambda place: (_is_left(place), _written(place)), reverse=True)
    for place in (*outcome.traders, *stopped[:_NAMED]):
        told = _told(place, setting)
        lines.append(f"  {place.session_id}: {'running' if place.running else 'stopped'}, {told['words']}")
    if len(stopped) > _NAMED:
        lines.append(f"  and {len(stopped) - _NAMED} older stopped sessions")
    if outcome.settled is not None:
        done = outcome.settled
        lines.append(
            f"  {done.session_id}: acted without its trader: {done.cancelled} orders cancelled, "
            f"{done.flattened} positions closed, {'reconciled' if done.reconciled else 'NOT reconciled'}"
        )
    if outcome.words:
        lines.append(outcome.words)
    return "\n".join(lines)


def _is_left(place: SessionPlace) -> bool:
    return bool(place.acknowledged.get("on")) and not place.acknowledged.get("done")


def _written(place: SessionPlace) -> float:
    return max((path.stat().st_mtime for path in place.journal.glob("*.journal")), default=0.0)


def _told(place: SessionPlace, setting: KillSwitchSetting | None) -> dict[str, Any]:
    told = place.acknowledged
    answered = setting is None or place.answers(setting)
    if not told:
        idle = "trades" if place.running else "at rest"
        words = "has not answered" if setting is not None and setting.on else idle
    elif not told.get("on"):
        words = "off" if answered else "has not answered"
    else:
        words = f"{told.get('cancelled', 0)} orders cancelled, {told.get('flattened', 0)} positions closed"
        left = [*told.get("working_orders", []), *(told.get("positions", {}) if told.get("flatten") else [])]
        words += (
            "" if told.get("done") else f"; left: {', '.join(map(str, left)) or 'its state'}; {told.get('trouble')}"
        )
        words += "" if answered else "; has not answered the newest setting"
    return {
        "session": place.session_id,
        "running": place.running,
        "acknowledged": answered,
        "said": told,
        "words": words,
    }


def _reason(reason: str) -> str:
    if not reason.strip():
        raise UsageError("give a --reason: it is kept in the journal")
    return reason.strip()


async def _wait(settings: Settings, setting: KillSwitchSetting, seconds: float) -> Outcome:
    """Wait until each trader that runs now has carried the setting out, or stopped."""
    clock = LiveClock()
    deadline = clock.time_ns() + round(seconds * NANOSECONDS)
    while True:
        outcome = look(settings)
        late = [place.session_id for place in outcome.traders if not place.answers(setting)]
        if not late:
            return msgspec.structs.replace(outcome, setting=setting)
        if clock.time_ns() >= deadline:
            words = (
                f"not finished after {seconds:g} s: {', '.join(late)}; `tidegate kill-switch show` tells how far it is"
            )
            return msgspec.structs.replace(outcome, setting=setting, done=False, words=words)
        await clock.sleep(_LOOK_SECONDS)


async def _settle(
    settings: Settings, wish: TurnOn, setting: KillSwitchSetting, say: Callable[[str], None]
) -> "Settled | None":
    """Act on the named account where its newest session has no trader; None where a trader runs it."""
    from tidegate.trader import BrokerName, TradeOptions, account_settings
    from trading.brokers.oanda import OandaBroker
    from trading.control.standalone import settle

    name = _broker_name(wish)
    options = TradeOptions(name, Path(), broker_ready_file=wish.broker_ready_file)
    account = account_settings(options, settings)
    place = _session_of(settings, name, account, wish.session)
    if place.running:
        say(f"session {place.session_id} has a running trader: it acts")
        return None
    clock = SteadyClock()  # as in the trader: a replay reads one time for what was decided in one go
    broker = OandaBroker(
        account,
        clock,
        account_currency=settings.trading.account_currency,
        # Orders here only ever lower risk; who traded live with both keys must be able to stop.
        allow_live=name is BrokerName.OANDA,
    )
    try:
        await broker.connect()
        return await settle(place.directory, setting, switch_path(settings.state), broker, clock)
    finally:
        await broker.close()


def _broker_name(wish: TurnOn) -> "BrokerName":
    from tidegate.trader import BrokerName

    if wish.broker is None:
        return BrokerName.PRACTICE
    if wish.broker not in (BrokerName.PRACTICE, BrokerName.OANDA):
        raise UsageError(
            f"--broker {wish.broker} cannot be acted on from here: choose practice or oanda; a paper account lives in "
            "its trader, which carries the switch out when it is started"
        )
    return BrokerName(wish.broker)


def _session_of(settings: Settings, name: "BrokerName", account: OandaSettings, session: str | None) -> SessionPlace:
    """Return the newest session on the account (or the named one, which must be on it).

    Raises:
        ConfigurationError: no account is set.
        BadInputError, RefusedError: no such session, or it is on another account.
    """
    if account.account_id is None:
        raise ConfigurationError("no account is named: set TIDEGATE_OANDA__ACCOUNT_ID, or give --broker-ready-file")
    key = f"{name}:{digest_bytes(account.account_id.get_secret_value().encode())[:12]}"
    newest: tuple[int, SessionPlace] | None = None
    for place in sessions(settings.state):
        if session is not None and place.session_id != session:
            continue
        opened = newest_opening(place)
        if opened is not None and opened.account_key == key:
            time_ns = opened.account.time_ns
            if newest is None or time_ns > newest[0]:
                newest = (time_ns, place)
    if newest is None:
        which = f"session {session!r}" if session else "a session"
        raise RefusedError(
            f"{which} on this account is not in {settings.state}: check --state and the account, or close at the broker"
        )
    return newest[1]
