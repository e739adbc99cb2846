"""What asks for a new model, on hand-made observations."""

from datetime import UTC, datetime

import msgspec
import pytest

from core.errors import BadInputError
from training.retraining.parameters import RetrainingParameters, WeeklySchedule, retraining_parameters
from training.retraining.reasons import (
    DriftAlarm,
    LiveSkill,
    Observation,
    ReasonKind,
    last_scheduled_ns,
    reasons_of,
)

DAY = 86_400_000_000_000


def moment(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


NOW = moment("2026-03-05 12:00")  # a Thursday
QUIET = Observation(
    strategy="tidegate-test",
    now_ns=NOW,
    model_digest="m1",
    trained_ns=NOW - 10 * DAY,
    made_ns=NOW - DAY,
    used_steps=1000,
    new_steps=3,
    newest_data_ns=NOW - DAY // 2,
    catalog_digest="c1",
)
DRIFT = DriftAlarm("d1", True, 0.4, 0.3, NOW - DAY // 4, "drift: 12 of 30 features moved")
LIVE = LiveSkill("m1", 500, 0.01, 25.0)


def kinds(seen: Observation, parameters: RetrainingParameters | None = None) -> list[ReasonKind]:
    return [reason.kind for reason in reasons_of(seen, parameters or RetrainingParameters())]


def changed(**values: object) -> Observation:
    return msgspec.structs.replace(QUIET, **values)


def test_nothing_asks_of_a_fresh_model() -> None:
    assert kinds(QUIET) == []


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (changed(made_ns=NOW - 6 * DAY), ReasonKind.SCHEDULE),
        (changed(trained_ns=NOW - 31 * DAY), ReasonKind.AGE),
        (changed(new_steps=50), ReasonKind.NEW_DATA),
        (changed(drift=DRIFT), ReasonKind.DRIFT),
        (changed(live=LIVE), ReasonKind.DECAY),
    ],
)
def test_each_reason_alone(seen: Observation, kind: ReasonKind) -> None:
    assert kinds(seen) == [kind]
    reason = reasons_of(seen, RetrainingParameters())[0]
    assert reason.words
    later = msgspec.structs.replace(seen, now_ns=seen.now_ns + DAY // 24)
    assert reasons_of(later, RetrainingParameters())[0].key == reason.key, "the same finding asks under the same key"


@pytest.mark.parametrize(
    "seen",
    [
        changed(trained_ns=NOW - 31 * DAY, new_steps=0),  # the same data would make the same model
        changed(new_steps=49),
        changed(drift=msgspec.structs.replace(DRIFT, drifted=False)),
        changed(drift=msgspec.structs.replace(DRIFT, written_ns=NOW - 2 * DAY)),  # older than the model
        changed(live=msgspec.structs.replace(LIVE, outcomes=199)),
        changed(live=msgspec.structs.replace(LIVE, largest_e_value=19.9)),
    ],
)
def test_what_does_not_ask(seen: Observation) -> None:
    assert kinds(seen) == []


def test_a_reason_that_is_null_never_asks() -> None:
    off = RetrainingParameters(schedule=None, maximum_age_days=None, new_data_share=None, drift=False, decay=None)
    everything = changed(made_ns=NOW - 60 * DAY, trained_ns=NOW - 60 * DAY, new_steps=900, drift=DRIFT, live=LIVE)
    assert kinds(everything, off) == []
    assert kinds(everything) == [ReasonKind.SCHEDULE, ReasonKind.AGE, ReasonKind.NEW_DATA, ReasonKind.DRIFT,
                                 ReasonKind.DECAY]  # fmt: skip


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-03-07 00:59", "2026-02-28 01:00"),
        ("2026-03-07 01:00", "2026-03-07 01:00"),
        ("2026-03-13 23:00", "2026-03-07 01:00"),
    ],
)
def test_the_newest_moment_of_a_weekly_schedule(now: str, expected: str) -> None:
    assert last_scheduled_ns(WeeklySchedule("saturday", 1), moment(now)) == moment(expected)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"maximum_age": 3}, "maximum_age"),
        ({"maximum_age_days": 0}, "maximum_age_days"),
        ({"new_data_share": -1.0}, "new_data_share"),
        ({"schedule": {"weekday": "someday", "hour": 1}}, "someday"),
        ({"schedule": {"weekday": "monday", "hour": 24}}, "hour"),
        ({"decay": {"alpha": 1.0}}, "alpha"),
        ({"pause_hours": -1}, "pause_hours"),
    ],
)
def test_parameters_that_make_no_sense(content: dict[str, object], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        retraining_parameters({"retraining": content})


def test_the_parameters_of_the_repository_are_the_defaults() -> None:
    from pathlib import Path

    from core.params import read_params

    assert retraining_parameters(read_params(Path(__file__).parents[3] / "params.yaml")) == RetrainingParameters()
