"""The section ``retraining`` of ``params.yaml``."""

from collections.abc import Mapping
from typing import Any, Literal

from core.errors import BadInputError
from core.params import section
from training.section import Section

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class WeeklySchedule(Section, frozen=True):
    """A moment of the week, UTC."""

    weekday: Weekday = "saturday"
    hour: int = 1


class DecayParameters(Section, frozen=True):
    """When live forecasts of the champion are worse than none: level of the test and least number of outcomes."""

    alpha: float = 0.05
    minimum_outcomes: int = 200


class RetrainingParameters(Section, frozen=True):
    """What asks for a new model. A reason that is null never asks."""

    schedule: WeeklySchedule | None = WeeklySchedule()
    maximum_age_days: float | None = 30.0
    new_data_share: float | None = 0.05
    drift: bool = True
    decay: DecayParameters | None = DecayParameters()
    pause_hours: float = 12.0


def retraining_parameters(params: Mapping[str, Any]) -> RetrainingParameters:
    """Read the section; what it leaves out keeps its default.

    Raises:
        BadInputError: an unknown key, a wrong type, or a number out of range.
    """
    parameters = section(params, "retraining", RetrainingParameters)
    limits = {
        "maximum_age_days": parameters.maximum_age_days,
        "new_data_share": parameters.new_data_share,
    }
    for name, value in limits.items():
        if value is not None and not value > 0:
            raise BadInputError(f"retraining.{name} is {value:g}: give a number above 0, or null for never")
    if parameters.pause_hours < 0:
        raise BadInputError(f"retraining.pause_hours is {parameters.pause_hours:g}: give 0 or more")
    if parameters.schedule is not None and not 0 <= parameters.schedule.hour <= 23:
        raise BadInputError(f"retraining.schedule.hour is {parameters.schedule.hour}: give an hour of the day, 0 to 23")
    decay = parameters.decay
    if decay is not None and not (0 < decay.alpha < 1 and decay.minimum_outcomes >= 1):
        raise BadInputError(
            f"retraining.decay has alpha {decay.alpha:g} and minimum_outcomes {decay.minimum_outcomes}: give a level "
            "between 0 and 1 and a count of at least 1"
        )
    return parameters
