"""What is to be scored, checked before anything is run: every mistake in it is found here."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from core.domain import Panel
from core.errors import BadInputError
from core.params import section
from serving.release.evidence import VerifiedPackage
from trading.risk.parameters import RiskParameters
from trading.strategy.rules.catalogue import Rule, rule_of
from trading.strategy.sizing import SizingParameters
from training.backtest.market import Market
from training.backtest.model.scope import Part, Scope, find_parts, find_scope
from training.backtest.model.strategies import Rules
from training.backtest.report.content import Subject
from training.backtest.settings import Account, Costs, Sizing
from training.parameters import EvaluationParameters, Parameters, parse
from training.search.strategy.parameters import Sizes

CATALOG = Path("data/raw/catalog")
_YEAR = 365.25 * 86_400_000_000_000


class Request(msgspec.Struct, frozen=True):
    """What is to be scored: ``rule`` with ``parameters``, or the package of version ``version`` of ``name``."""

    workspace: Path
    currency: str
    start_ns: int | None = None
    end_ns: int | None = None
    holdout: bool = False
    spread_multiple: float = 1.0
    name: str = ""
    version: str = ""
    rule: str = ""
    parameters: dict[str, float] = {}


@dataclass(frozen=True)
class Prepared:
    """A backtest that can be run: bars, range, account and cost."""

    request: Request
    params: dict[str, Any]
    package: VerifiedPackage | None
    rule: Rule | None
    panel: Panel  # up to the end of the range, nothing after it
    market: Market
    scope: Scope
    parts: tuple[Part, ...]
    account: Account
    costs: Costs
    sizing: SizingParameters
    rules: Rules
    options: EvaluationParameters
    parameters: Parameters | None  # of training; a rule needs none
    subject: Subject

    @property
    def range(self) -> Market:
        """The bars of the range."""
        return self.market.part(self.scope.first, self.scope.last)


def prepare_backtest(request: Request, params: dict[str, Any], package: VerifiedPackage | None) -> Prepared:
    """Check all that was asked for and load the bars.

    Raises:
        BadInputError: rule, parameters, range, workspace or model do not go together.
    """
    from data.panel import load_panel

    rule = rule_of(request.rule) if request.rule else None
    if rule is not None:
        rule.row(request.parameters)
    sizing, risk, costs = (
        SizingParameters.from_params(params),
        RiskParameters.from_params(params),
        _costs(request, params),
    )
    options = section(params, "evaluation", EvaluationParameters)
    parameters = None if package is None else _of_model(package, params)
    warm_up = 0
    if package is not None and parameters is not None:
        warm_up = parameters.warmup + package.manifest.lookback - 1
    try:
        instruments, holdout = list(params["data"]["instruments"]), dict(params["data"]["holdout"])
    except (KeyError, TypeError, ValueError):
        raise BadInputError("params.yaml lacks data.instruments or data.holdout: add it") from None
    panel = load_panel(request.workspace / CATALOG, instruments)
    scope = find_scope(panel, holdout, request.start_ns, request.end_ns, request.holdout, warm_up)
    here = slice(0, scope.last)
    panel = Panel(panel.instruments, panel.time_ns[here], panel.arrival_ns[here], panel.values[here], panel.kind)
    balance = (params.get("risk") or {}).get("initial_balance", 100_000)
    account = Account(balance=Decimal(str(balance)), sizing=_rule_sizing(params, panel, scope))
    account.check()
    account.sizing.columns()
    market = Market.from_panel(panel, request.currency, params.get("costs") or {})
    market.part(scope.first, scope.last).widened(costs.spread_multiple)
    manifest = package.manifest if package is not None else None
    return Prepared(
        request,
        params,
        package,
        rule,
        panel,
        market,
        scope,
        find_parts(panel.time_ns[scope.first :], scope.cutoff_ns, manifest),
        account,
        costs,
        sizing,
        Rules.of(sizing, risk, costs.slippage_pips, costs.commission_per_million),
        options,
        parameters,
        _subject(request, package, rule),
    )


def _costs(request: Request, params: Mapping[str, Any]) -> Costs:
    if not 0 < request.spread_multiple <= 100:
        raise BadInputError(f"a spread multiple of {request.spread_multiple:g}: give a number above 0, at most 100")
    costs = Costs.from_params(params)
    return msgspec.structs.replace(costs, spread_multiple=costs.spread_multiple * request.spread_multiple)


def _of_model(package: VerifiedPackage, params: dict[str, Any]) -> Parameters:
    """Return the parameters of the workspace, if they are those the model was made for."""
    from features.sets import feature_set

    manifest, parameters = package.manifest, parse(params)
    if manifest.market != parameters.market:
        raise BadInputError(
            f"the model was made for the market {manifest.market}, the workspace is {parameters.market}: choose its "
            "workspace with --workspace"
        )
    if manifest.feature_set != parameters.feature_set or manifest.horizon != parameters.labels.horizon:
        raise BadInputError(
            f"the model was made for feature set {manifest.feature_set} and horizon {manifest.horizon}, params.yaml "
            f"has {parameters.feature_set} and {parameters.labels.horizon}: use the parameters it was made with"
        )
    if manifest.feature_digest != feature_set(manifest.feature_set).digest:
        raise BadInputError(
            f"the model was made for features {manifest.feature_digest[:12]}, this release computes "
            f"{feature_set(manifest.feature_set).digest[:12]}: score it with the release that made it, or retrain"
        )
    return parameters


def _rule_sizing(params: Mapping[str, Any], panel: Panel, scope: Scope) -> Sizing:
    """Return the sizes that `tidegate search strategy` uses: a winner is scored as it was found."""
    search = (params.get("search") or {}).get("strategy") or {}
    sizes = section(search, "sizing", Sizes)
    steps = sizes.steps_per_year
    if steps is None:
        years = max(float(panel.time_ns[-1] - panel.time_ns[0]) / _YEAR, 1e-3)
        steps = float((~np.isnan(panel.values[:, :, 3])).sum(axis=0).mean()) / years
    return Sizing(
        kind=sizes.kind,
        units=sizes.units,
        target_volatility=sizes.target_volatility,
        maximum_leverage=sizes.maximum_leverage,
        steps_per_year=steps,
        rebalance_threshold=sizes.rebalance_threshold,
    )


def _subject(request: Request, package: VerifiedPackage | None, rule: Rule | None) -> Subject:
    if rule is not None:
        values = dict(zip(rule.names, rule.row(request.parameters).tolist(), strict=True))
        return Subject("rule", rule.name, parameters=values)
    assert package is not None
    manifest = package.manifest
    return Subject(
        "model",
        request.name,
        request.version,
        model=manifest.name,
        model_digest=manifest.model_digest,
        train_start_ns=manifest.train_start_ns,
        train_end_ns=manifest.train_end_ns,
        gate="passed" if package.evidence.verdict.passed else "failed",
    )
