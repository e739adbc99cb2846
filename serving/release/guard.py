"""The guard: looks at every policy a few times a second and takes back what harms.

``decide`` is a pure function of what was seen and what was known before, so that every action can be computed again
from its record. Its promises (property-tested):

- no action without a figure;
- a critical trigger acts at the look that sees it, a warning after ``warning_ticks`` looks in a row, a notice never;
- at most one champion is taken back in a cool-down: a fault of the machine must not take back one version after the
  other. Beyond it only harm to money goes on, and that leads to flat, from where nothing flaps;
- in a cool-down a challenger is taken back by a critical trigger only.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from core.clock import Clock
from core.errors import RefusedError, TidegateError
from core.logging import get_logger
from serving.release.cooldown import CoolDown, cool_down
from serving.release.findings import Severity, Trigger, TriggerKind
from serving.release.notifications import Notification
from serving.release.rollback import FLAT, roll_back, strategy_folder
from serving.release.rollback_record import RollbackRecord
from serving.release.triggers import Measure, RollbackParameters, judge, worse
from serving.store import ModelStore, Pointer
from serving.traffic.policy import Arm

Source = Callable[[Pointer], Sequence[Measure]]
Key = tuple[str, str, TriggerKind]  # arm, version, kind
_log = get_logger("serving")


class Episode(msgspec.Struct, frozen=True):
    """A trigger that lasts: since when, how severe, and how often it was seen in a row as a warning or worse."""

    severity: Severity
    ticks: int
    since_ns: int
    notified: Severity | None = None
    held: bool = False  # somebody was told that it is not acted on


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a decision depends on beside the episodes and the parameters."""

    policy: Pointer
    measures: tuple[Measure, ...]
    cool_down: CoolDown
    now_ns: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is done after a look. At most one of ``act``; ``notify`` are triggers that people hear of."""

    episodes: dict[Key, Episode]
    act: Trigger | None = None
    version: str = ""  # that ``act`` is about
    to: str | None = None  # flat, where nothing else is safe
    notify: tuple[tuple[Trigger, str], ...] = ()  # with why nothing is done


def decide(seen: Seen, episodes: Mapping[Key, Episode], parameters: RollbackParameters) -> Verdict:
    """Say what follows from one look at one strategy."""
    known: dict[Key, Episode] = {}
    found: list[tuple[Trigger, Measure, Episode]] = []
    roles = {Arm.CHAMPION.value: seen.policy.champion, Arm.CHALLENGER.value: seen.policy.challenger}
    for measure in seen.measures:
        role = roles.get(measure.arm)
        if role is None or role.version != measure.version or seen.policy.flat:
            continue  # figures of a version that is not there any more
        key: Key = (measure.arm, measure.version, measure.kind)
        before = episodes.get(key)
        trigger = judge(measure, parameters, before.severity if before else None, seen.now_ns)
        if trigger is None:
            continue
        lasting = trigger.severity is not Severity.NOTICE
        episode = Episode(
            severity=trigger.severity,
            ticks=(before.ticks if before else 0) + 1 if lasting else 0,
            since_ns=before.since_ns if before else seen.now_ns,
            notified=before.notified if before else None,
            held=before.held if before else False,
        )
        known[key] = episode
        found.append((trigger, measure, episode))
    due = [item for item in found if _due(item[0], item[2], parameters)]
    due = [item for item in due if not _is_the_machines(item[0], due)]
    due.sort(key=lambda item: (item[0].severity is not Severity.CRITICAL, item[0].arm == Arm.CHAMPION.value))
    act: Trigger | None = None
    version, to, held = "", None, dict[Key, str]()
    for trigger, measure, _ in due:
        allowed, way, why = _allowed(trigger, seen, parameters)
        if allowed and act is None:
            act, version, to = trigger, measure.version, way
        elif not allowed:
            held[(measure.arm, measure.version, measure.kind)] = why
    notify: list[tuple[Trigger, str]] = []
    for trigger, measure, episode in found:
        key = (measure.arm, measure.version, measure.kind)
        if trigger is act:
            continue  # the rollback has its own notification
        why = held.get(key, "")
        if worse(trigger.severity, episode.notified) or (why and not episode.held):
            notify.append((trigger, why))
            worst = trigger.severity if worse(trigger.severity, episode.notified) else episode.notified
            known[key] = msgspec.structs.replace(episode, notified=worst, held=episode.held or bool(why))
    return Verdict(episodes=known, act=act, version=version, to=to, notify=tuple(notify))


def _due(trigger: Trigger, episode: Episode, parameters: RollbackParameters) -> bool:
    if trigger.severity is Severity.CRITICAL:
        return True
    return trigger.severity is Severity.WARNING and episode.ticks >= parameters.warning_ticks


def _is_the_machines(trigger: Trigger, due: Sequence[tuple[Trigger, Measure, Episode]]) -> bool:
    """Both arms are slow in one process: what came last is taken back first, the champion stays."""
    if trigger.kind is not TriggerKind.LATENCY or trigger.arm != Arm.CHAMPION.value:
        return False
    return any(t.kind is TriggerKind.LATENCY and t.arm == Arm.CHALLENGER.value for t, _, _ in due)


def _allowed(trigger: Trigger, seen: Seen, parameters: RollbackParameters) -> tuple[bool, str | None, str]:
    """Whether a due trigger may act, where it leads, and why not."""
    if not parameters.automatic:
        return False, None, "automatic rollback is off (rollback.automatic): `tidegate rollback` takes it back"
    if trigger.kind is TriggerKind.DRIFT and trigger.arm == Arm.CHAMPION.value:
        return False, None, "an earlier champion would see the same features: retrain, or `tidegate rollback --to flat`"
    if not seen.cool_down.active(seen.now_ns):
        return True, None, ""
    critical = trigger.severity is Severity.CRITICAL
    if trigger.arm == Arm.CHALLENGER.value and critical:
        return True, None, ""
    if critical and trigger.kind in parameters.flat_in_cool_down:
        return True, FLAT, ""
    left = seen.cool_down.seconds_left(seen.now_ns)
    return False, None, f"cool-down after rollback {seen.cool_down.rollback_id} for {left:.0f} more seconds"


class Guard:
    """Looks at all strategies of a store.

    Args:
        store: the models of this machine.
        parameters: limits and times.
        sources: each gives the figures of a policy's arms that it knows now; it may not block.
        tell: where people hear of it; it may not block.
        clock: of the machine.
        answering: figures of the arms for the record of a rollback.
    """

    def __init__(
        self,
        store: ModelStore,
        parameters: RollbackParameters,
        sources: Sequence[Source],
        tell: Callable[[Notification], object],
        clock: Clock,
        answering: Callable[[str], Sequence[dict[str, Any]]] = lambda strategy: (),
    ) -> None:
        self._store = store
        self._parameters = parameters
        self._sources = tuple(sources)
        self._say = tell
        self._clock = clock
        self._answering = answering
        self._episodes: dict[str, dict[Key, Episode]] = {}
        self._troubles: dict[str, str] = {}
        self.rollbacks: list[RollbackRecord] = []  # made by this guard and not taken over yet

    @property
    def episodes(self) -> dict[str, dict[Key, Episode]]:
        """The triggers that last, by strategy."""
        return {strategy: dict(found) for strategy, found in self._episodes.items()}

    @property
    def troubles(self) -> dict[str, str]:
        """What kept the guard from looking, by strategy."""
        return dict(self._troubles)

    def tick(self, now_ns: int) -> list[Trigger]:
        """Look once at every strategy and act; return the triggers that were acted on. Never raises."""
        acted: list[Trigger] = []
        try:
            strategies = self._store.strategies()
        except OSError as error:
            self._trouble("*", f"the model store cannot be read: {error.strerror}")
            return acted
        for strategy in strategies:
            try:
                trigger = self._look(strategy, now_ns)
            except (TidegateError, OSError) as error:
                self._trouble(strategy, str(error))
                continue
            self._troubles.pop(strategy, None)
            if trigger is not None:
                acted.append(trigger)
        return acted

    def _look(self, strategy: str, now_ns: int) -> Trigger | None:
        policy = self._store.pointer(strategy)
        if policy is None or policy.flat:
            self._episodes.pop(strategy, None)
            return None
        folder = strategy_folder(self._store, strategy)
        seen = Seen(
            policy=policy,
            measures=tuple(measure for source in self._sources for measure in source(policy)),
            cool_down=cool_down(folder, self._parameters.cool_down_seconds),
            now_ns=now_ns,
        )
        verdict = decide(seen, self._episodes.get(strategy, {}), self._parameters)
        self._episodes[strategy] = verdict.episodes
        acted = self._act(verdict, policy) if verdict.act is not None else None
        for trigger, why in verdict.notify:
            self._tell(trigger, why, verdict.episodes)
        return acted

    def _act(self, verdict: Verdict, policy: Pointer) -> Trigger | None:
        trigger = verdict.act
        assert trigger is not None
        try:
            record = roll_back(
                self._store,
                policy.strategy,
                trigger,
                actor="guard",
                clock=self._clock,
                positions=self._parameters.positions,
                to=verdict.to,
                version=verdict.version,
                answering=self._answering(policy.strategy),
            )
        except RefusedError as error:
            _log.info("rollback not needed any more", strategy=policy.strategy, words=error.message)
            return None
        self.rollbacks.append(record)
        return trigger

    def _tell(self, trigger: Trigger, why: str, episodes: Mapping[Key, Episode]) -> None:
        since = min(
            (e.since_ns for (arm, _, kind), e in episodes.items() if (arm, kind) == (trigger.arm, trigger.kind))
        )
        state = "held" if why else trigger.severity.value
        try:
            self._say(
                Notification(
                    notification_id=f"{trigger.strategy}:{trigger.arm}:{trigger.kind.value}:{since}:{state}",
                    time_ns=trigger.time_ns,
                    severity=trigger.severity,
                    subject=f"{trigger.strategy}: {trigger.kind.value} {trigger.severity.value}",
                    words=f"{trigger.words}{f'. Nothing was done: {why}' if why else ''}",
                    figures={"value": trigger.value, "limit": trigger.limit, "arm": trigger.arm},
                )
            )
        except TidegateError as error:
            _log.error("notification not sent", words=error.message)

    def _trouble(self, strategy: str, words: str) -> None:
        if self._troubles.get(strategy) != words:  # once per cause, not once per look
            _log.error("the guard cannot look", strategy=strategy, words=words)
        self._troubles[strategy] = words
