"""What the leak checks found: rules with their numbers, and one line per feature."""

import msgspec

from core.errors import BadInputError

MOST_DRAWS = 999  # of rotations: each is looked at by every feature


class LeakLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From where a finding counts as a leak. Skills are log-loss skills of one feature alone, out of fold.

    ``direction`` is about which way price moved: 0.1 is a single column that is right in about 68 % of the rows. On the
    fixings (59,535 rows) and hourly NZDUSD (67,903 rows) no feature of the platform has more than 0.003. ``movement``
    is about whether price moved far, which spreads, hours and volatilities do tell, so it may be larger: the most found
    there is 0.026.
    """

    direction: float = 0.10
    movement: float = 0.40
    # A feature stronger than this must keep a part of its skill when it is one row older ...
    suspect_direction: float = 0.02
    suspect_movement: float = 0.10
    retained: float = 0.25  # ... at least this part
    time_separation: float = 0.99  # area under the ROC curve of "test or training row?" in every fold
    draws: int = 19  # rotations of the labels; their largest skill is what noise can do (a test at 5 %)

    def check(self) -> None:
        """Refuse limits that make no sense.

        Raises:
            BadInputError: a skill is negative, a share lies outside [0, 1], an area below 0.5, or no rotation is drawn.
        """
        for name in ("direction", "movement", "suspect_direction", "suspect_movement", "retained"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise BadInputError(f"gate parameters: leaks.{name} must be in [0, 1], not {getattr(self, name)}")
        if not 0.5 <= self.time_separation <= 1.0:
            raise BadInputError(f"gate parameters: leaks.time_separation must be 0.5 to 1, not {self.time_separation}")
        if not 1 <= self.draws <= MOST_DRAWS:
            raise BadInputError(f"gate parameters: leaks.draws must be from 1 to {MOST_DRAWS}, not {self.draws}")


class LeakRule(msgspec.Struct, frozen=True):
    """One rule: ``value`` was measured, ``limit`` is what it may be at most, ``words`` says it in a sentence."""

    name: str
    passed: bool
    value: float
    limit: float
    words: str


class FeatureCheck(msgspec.Struct, frozen=True):
    """What one feature alone tells out of fold.

    ``skill`` is by question (``check.QUESTIONS``), ``lagged`` the same with the feature one row older, and
    ``time_separation`` how well it tells test from training rows.
    """

    name: str
    skill: dict[str, float]
    lagged: dict[str, float]
    time_separation: float


class LeakReport(msgspec.Struct, frozen=True):
    """The verdict of the leak checks. ``noise``: the largest skill any feature had on rotated answers, by question."""

    rules: tuple[LeakRule, ...]
    features: tuple[FeatureCheck, ...]
    noise: dict[str, float]
    rows: int  # the feature checks looked at
    seed: int

    @property
    def passed(self) -> bool:
        """Whether no rule found a leak."""
        return all(rule.passed for rule in self.rules)
