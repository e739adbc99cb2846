"""How often the online gate is wrong and how fast it is right, beside a t-test that looks at the same streams daily."""

import math
from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.digest import digest_source, digest_value
from core.errors import BadInputError
from serving.release.policy import Alphas
from training.online.rules import OnlineSettings
from training.simulation.forecasts import CalibrationRates, simulate_calibration
from training.simulation.run import Rate, rate
from training.simulation.streams import FAMILIES, Family, draw
from training.statistics.sequential.kernel import SHARES, stream_wealth

Array = NDArray[np.float64]
Report = Callable[[str], None]
EFFECTS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)  # of the power curve, beside the stated one
_FIRST_LOOK = 10  # days before the naive test looks: it knows that ten differences are needed


class OnlineOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What decides a simulation of the online gate."""

    streams: int = 1000  # of each family, without a difference
    planted: int = 400  # of each family and effect
    days: int = 250  # of daily looks
    decisions_per_day: int = 6
    effect: float = 0.25  # mean of a block over its standard deviation, at which power is stated
    seed: int = 20260101

    def check(self, settings: OnlineSettings) -> None:
        """Refuse what says nothing.

        Raises:
            BadInputError: naming the option.
        """
        if self.streams < 1 or self.planted < 1:
            raise BadInputError(f"{self.streams} streams and {self.planted} planted ones: at least 1 of each is needed")
        if self.decisions_per_day < 1 or self.days <= _FIRST_LOOK:
            raise BadInputError(
                f"{self.days} days of {self.decisions_per_day} decisions: at least 1 decision a day and more than "
                f"{_FIRST_LOOK} days are needed"
            )
        if self.blocks(settings) <= settings.warm_blocks:
            raise BadInputError(
                f"{self.decisions} decisions are {self.blocks(settings)} blocks of {settings.block_steps}, and "
                f"{settings.warm_blocks} of them only tell the scale: simulate more days"
            )
        if not 0 < self.effect < 5:
            raise BadInputError(
                f"a planted effect is in deviations of a block and must be in (0, 5), not {self.effect}"
            )

    @property
    def decisions(self) -> int:
        """Of a stream."""
        return self.days * self.decisions_per_day

    def blocks(self, settings: OnlineSettings) -> int:
        """Return the whole blocks of a stream."""
        return self.decisions // settings.block_steps


class FamilyRates(msgspec.Struct, frozen=True, kw_only=True):
    """Streams of one law without a difference: how often each test ended within all looks."""

    name: str
    words: str
    stress: bool
    false_promotion: Rate
    false_demotion: Rate
    naive_promotion: Rate
    naive_demotion: Rate


class Power(msgspec.Struct, frozen=True, kw_only=True):
    """Streams with a planted difference of one size, all families inside the assumptions together."""

    effect: float  # of a block, in its standard deviations
    yearly: float  # the same as an information ratio of 260 days
    promoted: Rate  # better challengers that benefit was found for
    demoted: Rate  # worse ones, as far below zero, that harm was found for
    naive_promoted: Rate
    median_decisions: float | None  # until promotion, of those that were promoted
    ninth_decile_decisions: float | None


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the gate, and whether it was held."""

    what: str
    limit: float
    value: float
    held: bool


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Share of streams without a difference that were promoted up to each day."""

    days: tuple[int, ...]
    gate: tuple[float, ...]
    naive: tuple[float, ...]


class OnlineSimulation(msgspec.Struct, frozen=True, kw_only=True):
    """All rates; totals are over the families inside the assumptions."""

    options: OnlineOptions
    settings: OnlineSettings
    alphas: Alphas
    digest: str
    false_promotion: Rate
    false_demotion: Rate
    naive_promotion: Rate
    naive_demotion: Rate
    families: tuple[FamilyRates, ...]
    power: tuple[Power, ...]
    curve: Curve
    calibration: CalibrationRates
    targets: tuple[Target, ...]


def simulate_online(
    options: OnlineOptions, settings: OnlineSettings, alphas: Alphas, report: Report
) -> OnlineSimulation:
    """Run both tests over streams without and with a difference.

    The gate looks after each block, the naive test (one-sided t, level of the benefit test, decisions taken as
    independent) once a day from the tenth day on. Both are given the same streams.

    Args:
        options: of the streams.
        settings: the section ``online`` of ``params.yaml``.
        alphas: levels of the tests.
        report: called with a line at a time.

    Raises:
        BadInputError: options that say nothing.
    """
    options.check(settings)
    families: list[FamilyRates] = []
    deviations: dict[str, float] = {}
    curve = np.zeros((2, options.days))
    for family in FAMILIES:
        streams = draw(family, options.streams, options.decisions, options.seed)
        deviations[family.name] = float(_blocks(streams, settings).std())
        ended = _Ended.of(streams, options, settings, alphas)
        if not family.stress:
            for day in range(options.days):
                last = (day + 1) * options.decisions_per_day
                curve[0, day] += float((ended.promoted <= last).sum())
                curve[1, day] += float((ended.naive_promoted <= last).sum())
        families.append(_family_rates(family, ended))
        promotion, demotion = families[-1].false_promotion, families[-1].false_demotion
        report(
            f"{family.name}: promoted {promotion.value:.1%}, demoted {demotion.value:.1%} of {options.streams} streams "
            f"without a difference; naive test {families[-1].naive_promotion.value:.1%}"
        )
    inside = [family for family in families if not family.stress]
    # Streams of their own, so that an effect is planted in nothing that a rate above was measured on.
    fresh = {
        family.name: draw(family, options.planted, options.decisions, options.seed + 1)
        for family in FAMILIES
        if not family.stress
    }
    power: list[Power] = []
    for effect in sorted({*EFFECTS, options.effect}):
        means = {name: effect * deviations[name] / settings.block_steps for name in fresh}
        power.append(_power(effect, fresh, means, options, settings, alphas))
        report(f"effect {effect:g}: promoted {power[-1].promoted.value:.1%}, demoted {power[-1].demoted.value:.1%}")
    calibration = simulate_calibration(options.streams, options.days, alphas.calibration, options.seed)
    report(f"calibration: false alarms {calibration.false_alarms.value:.1%}, found {calibration.found.value:.1%}")
    total = options.streams * len(inside)
    stated = next(item for item in power if item.effect == options.effect)
    false_promotion = _together([family.false_promotion for family in inside])
    false_demotion = _together([family.false_demotion for family in inside])
    return OnlineSimulation(
        options=options,
        settings=settings,
        alphas=alphas,
        digest=_digest(options, settings, alphas),
        false_promotion=false_promotion,
        false_demotion=false_demotion,
        naive_promotion=_together([family.naive_promotion for family in inside]),
        naive_demotion=_together([family.naive_demotion for family in inside]),
        families=tuple(families),
        power=tuple(power),
        curve=Curve(
            days=tuple(range(1, options.days + 1)),
            gate=tuple((curve[0] / total).tolist()),
            naive=tuple((curve[1] / total).tolist()),
        ),
        calibration=calibration,
        targets=(
            _target("false promotion at most", alphas.benefit, false_promotion.value, below=True),
            _target("false demotion at most", alphas.harm, false_demotion.value, below=True),
            _target("false calibration alarms at most", alphas.calibration, calibration.false_alarms.value, below=True),
            _target(
                f"power at an effect of {options.effect:g} within {options.decisions} decisions at least",
                0.8,
                stated.promoted.value,
                below=False,
            ),
        ),
    )


class _Ended(msgspec.Struct, frozen=True):
    """The decision after which each stream's test ended, float64 [S]; infinite where it never did."""

    promoted: Array
    demoted: Array
    naive_promoted: Array
    naive_demoted: Array

    @classmethod
    def of(cls, streams: Array, options: OnlineOptions, settings: OnlineSettings, alphas: Alphas) -> "_Ended":
        blocks = _blocks(streams, settings)
        cutting = settings.cutting
        bounds = (cutting.warm, cutting.half_life, cutting.gain, cutting.loss, SHARES)
        return cls(
            _first(stream_wealth(blocks, *bounds) >= -math.log(alphas.benefit), settings.block_steps),
            _first(stream_wealth(-blocks, *bounds) >= -math.log(alphas.harm), settings.block_steps),
            _naive(streams, options, alphas.benefit),
            _naive(-streams, options, alphas.harm),
        )


def _blocks(streams: Array, settings: OnlineSettings) -> Array:
    """Return block sums, float64 [S, B]."""
    count = streams.shape[1] // settings.block_steps
    whole = streams[:, : count * settings.block_steps]
    return whole.reshape(len(streams), count, settings.block_steps).sum(axis=2)


def _first(reached: NDArray[np.bool_], length: int, offset: int = 1) -> Array:
    """Return the decision of the first look that ends a test: looks are ``length`` decisions apart."""
    return np.where(reached.any(axis=1), (reached.argmax(axis=1) + offset) * length, np.inf)


def _naive(streams: Array, options: OnlineOptions, alpha: float) -> Array:
    """Return when a one-sided t-test of all differences so far, repeated every day, was below ``alpha`` first."""
    from scipy.stats import t as student

    count = np.arange(_FIRST_LOOK, options.days + 1) * options.decisions_per_day
    totals, squares = (np.cumsum(values, axis=1)[:, count - 1] for values in (streams, streams**2))
    variance = (squares - totals**2 / count) / np.maximum(count - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = totals / np.sqrt(np.maximum(variance, 0.0) * count)
    return _first(
        statistic > student.ppf(1.0 - alpha, np.maximum(count - 1, 1)), options.decisions_per_day, _FIRST_LOOK
    )


def _power(
    effect: float,
    streams: dict[str, Array],
    means: dict[str, float],
    options: OnlineOptions,
    settings: OnlineSettings,
    alphas: Alphas,
) -> Power:
    """Plant a difference of ``means`` a decision in streams of mean zero, both by family, and as large a loss."""
    ended = [_Ended.of(found + means[name], options, settings, alphas) for name, found in streams.items()]
    worse = [_Ended.of(found - means[name], options, settings, alphas) for name, found in streams.items()]
    promoted = np.concatenate([item.promoted for item in ended])
    when = promoted[np.isfinite(promoted)]
    blocks_a_year = 260.0 * options.decisions_per_day / settings.block_steps
    return Power(
        effect=effect,
        yearly=effect * math.sqrt(blocks_a_year),
        promoted=_share(promoted),
        demoted=_share(np.concatenate([item.demoted for item in worse])),
        naive_promoted=_share(np.concatenate([item.naive_promoted for item in ended])),
        median_decisions=float(np.median(when)) if len(when) else None,
        ninth_decile_decisions=float(np.quantile(when, 0.9)) if len(when) else None,
    )


def _family_rates(family: Family, ended: _Ended) -> FamilyRates:
    return FamilyRates(
        name=family.name,
        words=family.words,
        stress=family.stress,
        false_promotion=_share(ended.promoted),
        false_demotion=_share(ended.demoted),
        naive_promotion=_share(ended.naive_promoted),
        naive_demotion=_share(ended.naive_demoted),
    )


def _share(ended: Array) -> Rate:
    found = rate(int(np.isfinite(ended).sum()), len(ended))
    assert found is not None  # options ask for at least one stream
    return found


def _together(rates: list[Rate]) -> Rate:
    found = rate(sum(item.count for item in rates), sum(item.of for item in rates))
    assert found is not None
    return found


def _target(what: str, limit: float, value: float, below: bool) -> Target:
    return Target(what=what, limit=limit, value=value, held=value <= limit if below else value >= limit)


def _digest(options: OnlineOptions, settings: OnlineSettings, alphas: Alphas) -> str:
    """Return what names a simulation: everything it depends on."""
    return digest_value(
        [*(msgspec.to_builtins(item) for item in (options, settings, alphas)), digest_source("training")]
    )
