"""Score a registered version or a rule on any range, count it as a trial, and write what came out.

Everything that can be wrong with what was asked for is found by ``preparation``, before the trial begins.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from core.clock import to_datetime
from core.digest import digest_source
from core.domain import BarKind
from core.params import required
from serving.release.evidence import VerifiedPackage
from training.backtest.market import Market
from training.backtest.model.drive import run_policy
from training.backtest.model.outcomes import ForecastQuality, forecast_quality
from training.backtest.model.predictions import Forecasts, forecast
from training.backtest.model.scope import Part
from training.backtest.model.strategies import BuyAndHold, ModelStrategy, Momentum
from training.backtest.preparation import Prepared
from training.backtest.report.content import Content, describe
from training.backtest.report.measures import daily
from training.backtest.result import Result
from training.backtest.run import run_one
from training.backtest.settings import Execution
from training.trials import TrialLedger
from training.trials.session import data_lineage

FOLDER = Path("reports/backtests")
STUDY = "backtest"
_CODE = ("training.backtest", "trading.strategy", "features", "serving")  # what decides a result
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Scored:
    """A backtest that was run and counted."""

    content: Content
    result: Result
    benchmarks: dict[str, Result]
    market: Market
    parts: tuple[Part, ...]


def score(prepared: Prepared, ledger: TrialLedger, tell: Tell = lambda text: None) -> Scored:
    """Run a backtest as one trial of the ledger and describe it.

    Raises:
        IntegrityError: the model gives no number for a row.
        UnavailableError: the ledger does not answer; nothing is run.
    """
    from data.panel import panel_digest

    params, subject = prepared.params, prepared.subject
    lineage = data_lineage(params)
    before = ledger.count(lineage)
    market = prepared.range
    tried = _tried(prepared)
    with ledger.trial(
        STUDY,
        "backtest",
        f"{subject.name}:{subject.version}" if subject.version else subject.name,
        lineage,
        tried,
        int(required(params, "seed")),
        digest_source(*_CODE),
        data_digest=panel_digest(prepared.panel),
    ) as trial:
        tell(f"trial {trial.id}: {subject.title}, {len(market)} bars of {', '.join(market.names)}")
        forecasts: Forecasts | None = None
        if prepared.package is not None:
            forecasts = _forecast(prepared, prepared.package, tell)
            result = _run_model(prepared, prepared.package, forecasts)
        else:
            result = _run_rule(prepared)
        tell(f"traded: {len(result.trades)} trades, equity {result.equity[-1]:,.2f} {result.currency}")
        benchmarks = {
            policy.name: run_policy(market, policy, prepared.account, prepared.costs)
            for policy in (BuyAndHold(market), Momentum(market, prepared.rules))
        }
        quality: tuple[ForecastQuality, ...] = ()
        if forecasts is not None and prepared.parameters is not None:
            tell("judging the probabilities")
            quality = forecast_quality(
                prepared.panel,
                prepared.scope.first,
                prepared.scope.last,
                forecasts,
                prepared.parts,
                prepared.parameters,
            )
        content = describe(
            subject,
            result,
            benchmarks,
            prepared.parts,
            quality,
            prepared.options,
            int(params["seed"]),
            market=str(params["market"]),
            warm_up=prepared.scope.warm_up,
            cutoff_ns=prepared.scope.cutoff_ns,
            simulated_spread=tuple(name for name, made in zip(market.names, market.modelled, strict=True) if made),
            terms=tried,
            notes=(*prepared.scope.notes, *_notes(prepared, result)),
            trial=trial.id,
            trials_before=before,
        )
        series = daily(result.time_ns, result.net)
        trial.complete(_values(content), series.returns, series.end_ns)
    return Scored(content, result, benchmarks, market, prepared.parts)


def _tried(prepared: Prepared) -> dict[str, Any]:
    """Return what the trial row says was tried."""
    subject, times = prepared.subject, prepared.range.time_ns
    content: dict[str, Any] = {
        "from": f"{to_datetime(int(times[0])):%Y-%m-%dT%H:%M:%SZ}",
        "to": f"{to_datetime(int(times[-1])):%Y-%m-%dT%H:%M:%SZ}",
        "holdout": any(part.kind == "holdout" for part in prepared.parts),
        "parts": {part.kind: part.last - part.first for part in prepared.parts},
        "costs": {
            **msgspec.to_builtins(prepared.costs),
            "half_spread_pips": prepared.params["costs"].get("half_spread_pips"),
        }
        if prepared.params.get("costs")
        else msgspec.to_builtins(prepared.costs),
        "balance": str(prepared.account.balance),
    }
    if subject.kind == "rule":
        return content | {"rule": subject.parameters, "sizing": msgspec.to_builtins(prepared.account.sizing)}
    limits = msgspec.to_builtins(prepared.rules.limits)
    return content | {
        "model": {"version": subject.version, "digest": subject.model_digest, "name": subject.model},
        "strategy": msgspec.to_builtins(prepared.sizing),
        "limits": limits,
    }


def _forecast(prepared: Prepared, package: VerifiedPackage, tell: Tell) -> Forecasts:
    from features.sets import feature_set

    parameters = prepared.parameters
    assert parameters is not None
    labels = parameters.labels
    volatility = (prepared.params.get("strategy") or {}).get("volatility_feature", "volatility_21")
    said = -1

    def report(done: int, of: int) -> None:
        nonlocal said
        tenth = 10 * done // of
        if tenth > said:
            said = tenth
            tell(f"predicted {done} of {of} bars")

    tell("computing features")
    return forecast(
        prepared.panel,
        prepared.scope.first,
        feature_set(package.manifest.feature_set),
        package,
        volatility,
        labels.primary.feature if labels.kind == "meta_labels" else None,
        report,
    )


def _run_model(prepared: Prepared, package: VerifiedPackage, forecasts: Forecasts) -> Result:
    subject, market = prepared.subject, prepared.range
    strategy = ModelStrategy(
        package.manifest.strategy, market, forecasts, prepared.rules, subject.version, subject.model_digest
    )
    return run_policy(market, strategy, prepared.account, prepared.costs)


def _run_rule(prepared: Prepared) -> Result:
    """Run a rule that has seen all bars before the range, and return the range alone."""
    assert prepared.rule is not None
    first = prepared.scope.first
    found = run_one(
        prepared.market,
        prepared.rule,
        prepared.request.parameters,
        prepared.account,
        prepared.costs,
        Execution(),
        first=first,
    )
    trades = tuple(
        msgspec.structs.replace(trade, entry_row=trade.entry_row - first, exit_row=trade.exit_row - first)
        for trade in found.trades
    )
    return replace(
        found,
        trades=trades,
        time_ns=found.time_ns[first:],
        equity=found.equity[first:],
        net=found.net[first:],
        exposure=found.exposure[first:],
        held=found.held[first:],
        paths=found.paths[first:],
    )


def _values(content: Content) -> dict[str, float]:
    figures = content.figures
    values = {
        "net_return": figures.net_return,
        "net_return_a_year": figures.return_a_year,
        "maximum_drawdown": figures.maximum_drawdown,
        "trades": float(figures.trades),
        "turnover_a_year": content.metrics["turnover"] / figures.years,
        "in_sample_share": content.in_sample_share,
        "holdout": float(content.holdout),
    }
    if figures.sharpe is not None:
        values["sharpe"] = figures.sharpe.value
    for quality in content.forecasts:
        values[f"log_loss.{quality.kind}"] = quality.log_loss
    return values


def _notes(prepared: Prepared, result: Result) -> list[str]:
    """Say what the backtest does not know, and what differs from the trader."""
    market, notes = prepared.range, list[str]()
    made = [name for name, modelled in zip(market.names, market.modelled, strict=True) if modelled]
    if made:
        notes.append(
            f"The spread of {', '.join(made)} is modelled by costs.half_spread_pips: the source has one price."
        )
    if prepared.panel.kind is BarKind.FIXING:
        notes.append("One price a day: decisions trade at the fixing they are made on, and no stop is met between two.")
    else:
        notes.append(
            "Decisions trade at the next bar's opening quotes. Inside a bar the extreme against the position comes "
            "first."
        )
    if prepared.costs.spread_multiple != 1.0:
        notes.append(
            f"Trades pay {prepared.costs.spread_multiple:g} times the spread; decisions see the market as it is."
        )
    if prepared.subject.kind == "model":
        notes.append(
            "Orders are those of trading.strategy.decide on these forecasts, at the engine's fills and money. Not "
            "modelled: the trader's own pre-trade refusals (daily loss, drawdown, rollover and stale-price limits, "
            "margin use), slicing of orders over time, and prices that arrive late."
        )
    if not prepared.costs.financing:
        notes.append("Financing is not charged: costs.financing is off.")
    if result.metrics["refused_orders"]:
        notes.append(
            f"{result.metrics['refused_orders']:.0f} orders were refused: margin, liquidity, bound, a stop reached "
            "already, or no bar to trade on."
        )
    if not result.trades:
        notes.append("It never traded.")
    return notes
