"""From what is known about a model and its data to the reasons for a new one. Pure functions of their arguments."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec

from core.clock import NANOSECONDS
from core.digest import digest_value
from training.retraining.parameters import RetrainingParameters, WeeklySchedule

_DAY = 86_400 * NANOSECONDS
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class ReasonKind(StrEnum):
    """Why a new model is asked for."""

    SCHEDULE = "schedule"
    AGE = "age"
    NEW_DATA = "new_data"
    DRIFT = "drift"
    DECAY = "decay"
    MANUAL = "manual"


class Reason(msgspec.Struct, frozen=True):
    """One reason with its figure. Two looks that find the same thing have the same ``key``."""

    kind: ReasonKind
    key: str
    value: float | None
    limit: float | None
    words: str


class DriftAlarm(msgspec.Struct, frozen=True):
    """The newest drift report: its digest, whether it is an alarm, and when it was written."""

    digest: str
    drifted: bool
    share: float
    share_limit: float
    written_ns: int
    words: str


class LiveSkill(msgspec.Struct, frozen=True):
    """How the champion's live forecasts fare against the class frequencies it was trained on.

    ``e_value`` is evidence against "no worse than the class frequencies", valid at every look.
    """

    model_digest: str
    outcomes: int
    mean_loss_difference: float  # Brier score of the model minus that of the frequencies; above 0 is worse
    largest_e_value: float


class Observation(msgspec.Struct, frozen=True):
    """What is known at one moment. ``None`` where there is nothing to look at."""

    strategy: str
    now_ns: int
    model_digest: str  # of the champion; of the newest version where nobody is served
    trained_ns: int  # last decision time its training saw
    made_ns: int  # when its package was made
    used_steps: int  # decision times in the features it was made from
    new_steps: int  # decision times in the catalog after those
    newest_data_ns: int
    catalog_digest: str
    drift: DriftAlarm | None = None
    live: LiveSkill | None = None


def reasons_of(seen: Observation, parameters: RetrainingParameters) -> list[Reason]:
    """Return every reason that holds, in the order of ``ReasonKind``."""
    found = (
        _schedule(seen, parameters.schedule),
        _age(seen, parameters.maximum_age_days),
        _new_data(seen, parameters.new_data_share),
        _drift(seen) if parameters.drift else None,
        _decay(seen, parameters),
    )
    return [reason for reason in found if reason is not None]


def last_scheduled_ns(schedule: WeeklySchedule, now_ns: int) -> int:
    """Return the newest moment of a weekly schedule that is not after ``now_ns``, UTC nanoseconds."""
    now = datetime.fromtimestamp(now_ns // NANOSECONDS, UTC)
    day = now.replace(hour=schedule.hour, minute=0, second=0, microsecond=0)
    moment = day - timedelta(days=(day.weekday() - _WEEKDAYS.index(schedule.weekday)) % 7)
    if moment > now:
        moment -= timedelta(days=7)
    return int(moment.timestamp()) * NANOSECONDS


def _key(kind: ReasonKind, *parts: object) -> str:
    return digest_value([kind.value, *map(str, parts)])[:24]


def _schedule(seen: Observation, schedule: WeeklySchedule | None) -> Reason | None:
    if schedule is None:
        return None
    due = last_scheduled_ns(schedule, seen.now_ns)
    if seen.made_ns >= due:
        return None
    moment = datetime.fromtimestamp(due // NANOSECONDS, UTC)
    return Reason(
        ReasonKind.SCHEDULE,
        _key(ReasonKind.SCHEDULE, seen.strategy, due),
        None,
        None,
        f"the schedule asks for a model since {moment:%A %Y-%m-%d %H:%M} UTC",
    )


def _age(seen: Observation, maximum_days: float | None) -> Reason | None:
    days = (seen.now_ns - seen.trained_ns) / _DAY
    # Training again on the same data makes the same model: age asks only when something newer is there.
    if maximum_days is None or days <= maximum_days or seen.newest_data_ns <= seen.trained_ns or not seen.new_steps:
        return None
    return Reason(
        ReasonKind.AGE,
        _key(ReasonKind.AGE, seen.model_digest, seen.catalog_digest),
        days,
        maximum_days,
        f"the model's training ends {days:.1f} days ago; {maximum_days:g} are allowed",
    )


def _new_data(seen: Observation, share: float | None) -> Reason | None:
    if share is None or not seen.used_steps:
        return None
    found = seen.new_steps / seen.used_steps
    if found < share:
        return None
    return Reason(
        ReasonKind.NEW_DATA,
        _key(ReasonKind.NEW_DATA, seen.model_digest, seen.catalog_digest),
        found,
        share,
        f"{seen.new_steps} new decision times, {found:.1%} of those the model was made from (limit {share:.1%})",
    )


def _drift(seen: Observation) -> Reason | None:
    alarm = seen.drift
    if alarm is None or not alarm.drifted or alarm.written_ns <= seen.made_ns:
        return None
    return Reason(
        ReasonKind.DRIFT,
        _key(ReasonKind.DRIFT, seen.model_digest, alarm.digest),
        alarm.share,
        alarm.share_limit,
        alarm.words,
    )


def _decay(seen: Observation, parameters: RetrainingParameters) -> Reason | None:
    decay, live = parameters.decay, seen.live
    if decay is None or live is None or live.outcomes < decay.minimum_outcomes:
        return None
    if live.largest_e_value < 1.0 / decay.alpha:
        return None
    return Reason(
        ReasonKind.DECAY,
        _key(ReasonKind.DECAY, live.model_digest),
        live.largest_e_value,
        1.0 / decay.alpha,
        f"over {live.outcomes} live outcomes the champion's forecasts are worse than the class frequencies it was "
        f"trained on: Brier score {live.mean_loss_difference:+.4f}, e-value {live.largest_e_value:.1f} of "
        f"{1.0 / decay.alpha:.1f}",
    )
