"""Everything a report says, as one document: ``result.json``, and what the page is made from."""

from typing import Any

import msgspec
import numpy as np

from training.backtest.model.outcomes import ForecastQuality
from training.backtest.model.scope import AFTER, HOLDOUT, IN_SAMPLE, WORDS, Part
from training.backtest.report.measures import Costs, Figures, Month, Share, attribution, costs, figures, monthly
from training.backtest.result import Result
from training.parameters import EvaluationParameters


class Subject(msgspec.Struct, frozen=True):
    """What was tested: a registered version, or a rule with its parameters."""

    kind: str  # model or rule
    name: str
    version: str = ""
    parameters: dict[str, float] = {}
    model: str = ""  # xgboost, blend, …
    model_digest: str = ""
    train_start_ns: int | None = None
    train_end_ns: int | None = None
    gate: str = ""  # what the gate said of the version

    @property
    def title(self) -> str:
        """Its name for people."""
        if self.kind == "model":
            return f"{self.name} version {self.version}"
        return f"rule {self.name}"


class PartFigures(msgspec.Struct, frozen=True):
    """A part of the range and what was earned in it."""

    kind: str
    words: str
    start_ns: int
    end_ns: int
    steps: int
    figures: Figures


class Content(msgspec.Struct, frozen=True):
    """A backtest. Times are UTC nanoseconds, money is in ``currency``, shares are fractions."""

    subject: Subject
    market: str
    instruments: tuple[str, ...]
    currency: str
    start_ns: int
    end_ns: int
    steps: int
    warm_up: int
    cutoff_ns: int
    words: str
    in_sample_share: float
    out_of_sample_share: float  # after training, the holdout included; 0 for a rule, of which nobody can know
    holdout: bool
    simulated_spread: tuple[str, ...]  # instruments whose spread is a parameter
    terms: dict[str, Any]
    parts: tuple[PartFigures, ...]
    figures: Figures
    metrics: dict[str, float]
    benchmarks: dict[str, Figures]
    costs: Costs
    monthly: list[Month]
    attribution: dict[str, list[Share]]
    forecasts: tuple[ForecastQuality, ...]
    notes: tuple[str, ...]
    trial: str
    trials_before: int
    result_digest: str


def describe(
    subject: Subject,
    result: Result,
    benchmarks: dict[str, Result],
    parts: tuple[Part, ...],
    forecasts: tuple[ForecastQuality, ...],
    options: EvaluationParameters,
    seed: int,
    **more: Any,
) -> Content:
    """Put a backtest into words and numbers.

    Args:
        more: the fields of ``Content`` that only the caller knows.
    """

    def of(one: Result, first: int = 0, last: int | None = None) -> Figures:
        return figures(
            one, first, last or len(one.time_ns), options.block_length, max(options.bootstrap_draws, 100), seed
        )

    steps = len(result.time_ns)
    in_sample = sum(part.last - part.first for part in parts if part.kind == IN_SAMPLE)
    after = sum(part.last - part.first for part in parts if part.kind in (AFTER, HOLDOUT))
    intraday = bool(np.diff(result.time_ns).min() < 20 * 3_600_000_000_000)
    return Content(
        subject=subject,
        instruments=result.instruments,
        currency=result.currency,
        start_ns=int(result.time_ns[0]),
        end_ns=int(result.time_ns[-1]),
        steps=steps,
        words=_words(parts, steps),
        in_sample_share=in_sample / steps,
        out_of_sample_share=after / steps if subject.kind == "model" else 0.0,
        holdout=any(part.kind == HOLDOUT for part in parts),
        parts=tuple(
            PartFigures(
                part.kind,
                part.words,
                part.start_ns,
                part.end_ns,
                part.last - part.first,
                of(result, part.first, part.last),
            )
            for part in parts
        ),
        figures=of(result),
        metrics=dict(result.metrics),
        benchmarks={name: of(one) for name, one in benchmarks.items()},
        costs=costs(result),
        monthly=monthly(result.time_ns, result.net),
        attribution=attribution(result.trades, intraday),
        forecasts=forecasts,
        result_digest=result.digest(),
        **more,
    )


def _words(parts: tuple[Part, ...], steps: int) -> str:
    """Say what the range is to the subject, the largest part first."""
    sizes: dict[str, int] = {}
    for part in parts:
        sizes[part.kind] = sizes.get(part.kind, 0) + part.last - part.first
    order = sorted(sizes, key=lambda kind: -sizes[kind])
    return " ".join(f"{sizes[kind] / steps:.0%} of the bars: {WORDS[kind]}." for kind in order)
