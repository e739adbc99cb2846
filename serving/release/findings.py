"""What the online tests and the guards found: values that the release decides on, made by rooms above this one."""

from enum import StrEnum

import msgspec


class SequentialTest(msgspec.Struct, frozen=True, kw_only=True):
    """An anytime-valid test at one moment. ``rejected`` once the e-value has ever reached ``threshold`` (1 / alpha)."""

    name: str  # benefit, harm or calibration
    e_value: float
    largest_e_value: float
    threshold: float
    rejected: bool
    observations: int  # blocks


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """A confidence sequence at one moment, valid at every moment at once."""

    mean: float
    low: float
    high: float
    confidence: float


class ArmFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One version over the paired decisions of a release, after cost, as if it had traded all of them."""

    arm: str
    model_version: str
    model_digest: str
    decisions: int
    traded: int  # of them answered and traded by this version
    net_return: float  # sum, fractions of equity
    cost: float
    log_loss: float | None  # None before any outcome is known


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the exit tests of a release step read. Counts are of this step, not of the release."""

    time_ns: int
    decisions: int  # paired decisions whose outcome is known
    pending: int  # whose outcome is not known yet
    blocks: int
    difference: Bounds  # challenger minus champion a block, fraction of equity
    tests: tuple[SequentialTest, ...]
    arms: tuple[ArmFigures, ...]

    def test(self, name: str) -> SequentialTest | None:
        """Return a test by its name."""
        return next((test for test in self.tests if test.name == name), None)


class TriggerKind(StrEnum):
    """Why a release or a champion is taken back."""

    LATENCY = "latency"
    ERRORS = "errors"
    MISSING = "missing"  # predictions that did not come
    CONSTANT = "constant"  # predictions that no longer depend on the features
    DRIFT = "drift"
    HARM = "harm"  # the e-process for harm
    LOSS = "loss"  # realised loss limit
    INTEGRITY = "integrity"  # a file, a record or a tag is not what was approved
    EXPIRED = "expired"  # older than the release policy allows
    MANUAL = "manual"


class Severity(StrEnum):
    """How a trigger is answered: noted, after a second look, at once."""

    NOTICE = "notice"
    WARNING = "warning"
    CRITICAL = "critical"


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """One reason with the figure behind it. ``words`` says it in a sentence for people."""

    kind: TriggerKind
    severity: Severity
    strategy: str
    arm: str
    value: float | None
    limit: float | None
    time_ns: int
    words: str
