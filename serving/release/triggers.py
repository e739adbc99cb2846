"""What takes a version back: figures, their limits, and how severe a figure is. Nothing is read here.

A figure crosses a limit upwards and comes back only below ``clear`` times the limit (hysteresis): a figure that
trembles on its limit is one trigger, not many.
"""

import math
from collections.abc import Mapping
from typing import Any, Self

import msgspec

from core.errors import BadInputError
from core.params import section
from serving.release.findings import Severity, Trigger, TriggerKind
from serving.release.rollback_record import Positions

_ORDER = (Severity.NOTICE, Severity.WARNING, Severity.CRITICAL)


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a figure becomes a notice, a warning, critical; null: never."""

    notice: float | None = None
    warning: float | None = None
    critical: float | None = None

    def of(self, severity: Severity) -> float | None:
        """Return the limit of a severity."""
        return {Severity.NOTICE: self.notice, Severity.WARNING: self.warning, Severity.CRITICAL: self.critical}[
            severity
        ]


class RollbackParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section ``rollback`` of ``params.yaml``; see the comments there."""

    automatic: bool = True
    positions: Positions = Positions.KEEP
    tick_seconds: float = 0.25
    warning_ticks: int = 40
    clear: float = 0.8
    cool_down_seconds: float = 900.0
    minimum_rows: int = 50
    latency_seconds: Limits = Limits(warning=0.1, critical=0.25)
    error_rate: Limits = Limits(warning=0.01, critical=0.05)
    missing_rate: Limits = Limits(warning=0.01, critical=0.05)
    constant_spread: float | None = 1e-6
    loss: Limits = Limits(notice=0.005, warning=0.01, critical=0.02)
    harm: Severity = Severity.CRITICAL
    drift: Severity = Severity.WARNING
    integrity: Severity = Severity.WARNING
    flat_in_cool_down: tuple[TriggerKind, ...] = (TriggerKind.LOSS, TriggerKind.INTEGRITY)

    @classmethod
    def read(cls, params: Mapping[str, Any]) -> Self:
        """Read the section of ``params.yaml``.

        Raises:
            BadInputError: a value is unknown, of the wrong type or out of range; the message names it.
        """
        parameters = section(params, "rollback", cls)
        parameters.check()
        return parameters

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            BadInputError: the message names the value.
        """

        def needed(good: bool, words: str) -> None:
            if not good:
                raise BadInputError(f"rollback parameters: {words}")

        needed(0.05 <= self.tick_seconds <= 60, "tick_seconds lies between 0.05 and 60")
        needed(self.warning_ticks >= 1, "warning_ticks is at least 1")
        needed(0 < self.clear <= 1, "clear lies above 0 and is at most 1")
        needed(self.cool_down_seconds >= 0, "cool_down_seconds must not be negative")
        needed(self.minimum_rows >= 1, "minimum_rows is at least 1")
        needed(self.constant_spread is None or self.constant_spread >= 0, "constant_spread must not be negative")
        for name in ("latency_seconds", "error_rate", "missing_rate", "loss"):
            limits: Limits = getattr(self, name)
            given = [limit for severity in _ORDER if (limit := limits.of(severity)) is not None]
            needed(all(limit > 0 for limit in given), f"the limits of {name} are above 0")
            needed(given == sorted(given), f"the limits of {name} rise from notice to critical")

    def limits(self, kind: TriggerKind) -> Limits | None:
        """Return the limits of a figure that has its own; None where the figure brings its limit."""
        own = {
            TriggerKind.LATENCY: self.latency_seconds,
            TriggerKind.ERRORS: self.error_rate,
            TriggerKind.MISSING: self.missing_rate,
            TriggerKind.LOSS: self.loss,
        }
        return own.get(kind)

    def severity(self, kind: TriggerKind) -> Severity:
        """Return how severe it is that a figure crosses the limit it brings."""
        own = {
            TriggerKind.HARM: self.harm,
            TriggerKind.DRIFT: self.drift,
            TriggerKind.INTEGRITY: self.integrity,
        }
        return own.get(kind, Severity.CRITICAL)


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of one arm at one moment.

    Attributes:
        value: the figure; None or not finite: nothing is known, and nothing is done.
        limit: where the figure has no limits of its own in the parameters.
        crossed: whether it crossed ``limit``, where that is not ``value > limit``; None: that is it.
        of: what it was computed from, for the words.
    """

    kind: TriggerKind
    strategy: str
    arm: str
    version: str
    value: float | None
    limit: float | None = None
    crossed: bool | None = None
    of: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a figure."""
        return self.value is not None and math.isfinite(self.value)


_WORDS = {
    TriggerKind.LATENCY: "takes {value:.4g} s for 99 % of its answers, {limit:.4g} s are allowed",
    TriggerKind.ERRORS: "failed on {value:.2%} of its requests, {limit:.2%} are allowed",
    TriggerKind.MISSING: "left out {value:.2%} of its predictions, {limit:.2%} may be missing",
    TriggerKind.CONSTANT: "gives one answer whatever it is asked: spread {value:.3g}, more than {limit:.3g} is needed",
    TriggerKind.DRIFT: "sees other features than it was trained on: {value:.0%} moved, alarm above {limit:.0%}",
    TriggerKind.HARM: "is worse than the champion: e-value for harm {value:.4g}, the limit is {limit:.4g}",
    TriggerKind.LOSS: "lost {value:.2%} of the equity, {limit:.2%} are allowed",
    TriggerKind.INTEGRITY: "cannot be loaded by {value:.0f} replica(s)",
}


def judge(measure: Measure, parameters: RollbackParameters, before: Severity | None, time_ns: int) -> Trigger | None:
    """Return the trigger that a figure is, None where it is none.

    Args:
        measure: the figure.
        parameters: the limits.
        before: how severe the same figure of the same version was at the last look; None: it was no trigger.
        time_ns: of the look.
    """
    value = measure.value
    if value is None or not math.isfinite(value):
        return None
    limits = parameters.limits(measure.kind)
    if limits is None:
        return _brought(measure, value, parameters, time_ns)
    for severity in reversed(_ORDER):
        limit = limits.of(severity)
        if limit is None:
            continue
        held = before is not None and _ORDER.index(before) >= _ORDER.index(severity)
        if value > limit or (held and value >= parameters.clear * limit):
            return _trigger(measure, value, limit, severity, time_ns)
    return None


def worse(one: Severity, other: Severity | None) -> bool:
    """Whether a severity is above another; above none every one is."""
    return other is None or _ORDER.index(one) > _ORDER.index(other)


def _brought(measure: Measure, value: float, parameters: RollbackParameters, time_ns: int) -> Trigger | None:
    if measure.limit is None:
        return None
    crossed = value > measure.limit if measure.crossed is None else measure.crossed
    return _trigger(measure, value, measure.limit, parameters.severity(measure.kind), time_ns) if crossed else None


def _trigger(measure: Measure, value: float, limit: float, severity: Severity, time_ns: int) -> Trigger:
    words = _WORDS[measure.kind].format(value=value, limit=limit)
    return Trigger(
        kind=measure.kind,
        severity=severity,
        strategy=measure.strategy,
        arm=measure.arm,
        value=value,
        limit=limit,
        time_ns=time_ns,
        words=f"version {measure.version} ({measure.arm}) {words}{f'; {measure.of}' if measure.of else ''}",
    )
