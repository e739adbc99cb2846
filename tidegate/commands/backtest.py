"""``tidegate backtest``: score a registered version or a rule on any range, without retraining."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings, say, table

if TYPE_CHECKING:
    from core.settings import Settings
    from serving.release.evidence import VerifiedPackage
    from training.backtest.preparation import Prepared, Request
    from training.backtest.report.content import Content, Figures


def backtest(
    version: Annotated[
        str | None, typer.Option("--version", help="Version in the registry to score.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Registered model; that of params.yaml when not given.", show_default=False),
    ] = None,
    rule: Annotated[str | None, typer.Option("--rule", help="Rule to score instead.", show_default=False)] = None,
    parameters: Annotated[
        str, typer.Option("--parameters", help="Of the rule: fast=10,slow=20. Others keep their default.")
    ] = "",
    start: Annotated[
        str | None, typer.Option("--from", help="First day (UTC); the first that is warm when not given.")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="First day not scored; where the holdout begins when not given.")
    ] = None,
    holdout: Annotated[
        bool, typer.Option("--holdout", help="Score the holdout too. The trial ledger keeps that it was looked at.")
    ] = False,
    spread_multiple: Annotated[
        float, typer.Option("--spread-multiple", help="Trade at so many times the spread; decisions see one.")
    ] = 1.0,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Score a registered version, or a rule, on any range and write an HTML report.

    A model's forecasts are computed anew from the workspace's catalog and traded by the trader's own decisions; nothing
    is fitted. Bars the model was trained on are marked as such. Every backtest is a row of the trial ledger.

    Example: tidegate backtest --version 3 --from 2015-01-01 --to 2020-01-01 --spread-multiple 2

    Example: tidegate backtest --rule ema_cross --parameters fast=10,slow=20
    """
    settings = load_settings(state, "backtest")
    from core.errors import UsageError
    from core.params import read_params
    from data.window import parse_moment
    from tidegate.commands.release import model_of
    from training.backtest.preparation import Request, prepare_backtest
    from training.backtest.settings import Costs

    if (rule is None) == (version is None):
        raise UsageError("say what to score: --version of a registered model, or --rule with --parameters")
    if (rule is not None and model is not None) or (rule is None and parameters):
        raise UsageError("--model goes with --version, --parameters with --rule")
    params = read_params(workspace / "params.yaml")
    Costs.from_params(params)
    request = Request(
        workspace=workspace.absolute(),
        currency=settings.trading.account_currency,
        start_ns=parse_moment(start, "--from"),
        end_ns=parse_moment(end, "--to"),
        holdout=holdout,
        spread_multiple=spread_multiple,
        name="" if rule is not None else model or model_of(workspace),
        version=version or "",
        rule=rule or "",
        parameters=_values(parameters),
    )
    if rule is not None:
        _finish(settings, prepare_backtest(request, params, None), json)
        return
    with TemporaryDirectory(prefix="tidegate-backtest-") as folder:
        package = _fetch(settings, request, Path(folder))
        _finish(settings, prepare_backtest(request, params, package), json)


def _fetch(settings: "Settings", request: "Request", folder: Path) -> "VerifiedPackage":
    from serving.release.publish import fetch_package, registry_client
    from tidegate.platform import platform
    from tidegate.release import registry_settings

    with platform(settings, say=say) as addresses:
        package = fetch_package(registry_client(registry_settings(addresses)), request.name, request.version, folder)
    say(f"{request.name} version {request.version}: verified, {package.manifest.name}")
    return package


def _finish(settings: "Settings", prepared: "Prepared", json: bool) -> None:
    import msgspec

    from training.backtest.report.page import write_report
    from training.backtest.scoring import FOLDER, score
    from training.trials.session import open_ledger

    with open_ledger(settings) as ledger:
        done = score(prepared, ledger, say)
    content = done.content
    folder = prepared.request.workspace / FOLDER / _folder(content)
    say("writing the report")
    page = write_report(folder, content, done.result, done.benchmarks, done.market, done.parts)
    finish(msgspec.to_builtins(content) | {"report": str(page)}, json, f"{_text(content)}\n\nreport: {page}")


def _folder(content: "Content") -> str:
    subject = content.subject
    name = f"{subject.name}-{subject.version}" if subject.version else subject.name
    return f"{name}-{content.trial.rpartition(':')[2]}"


def _values(text: str) -> dict[str, float]:
    from core.errors import BadInputError

    values: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, found, number = item.partition("=")
        try:
            values[name.strip()] = float(number)
        except ValueError:
            found = ""
        if not found:
            raise BadInputError(f"--parameters has {item!r}: write them as fast=10,slow=20")
    return values


def _text(content: "Content") -> str:
    rows: list[Any] = [
        _row(f"{part.kind.replace('_', ' ')}, {part.steps} bars", part.figures) for part in content.parts
    ]
    rows += [_row("whole range", content.figures)]
    rows += [_row(name, figures) for name, figures in content.benchmarks.items()]
    columns = ["what", "net return", "a year", "Sharpe", "drawdown", "trades"]
    costs = content.costs
    money = (
        f"without cost {costs.gross:,.0f}, spread {costs.spread:,.0f}, slippage {costs.slippage:,.0f}, commission "
        f"{costs.commission:,.0f}, financing {costs.financing:,.0f}, after cost {costs.net:,.0f} {content.currency}"
    )
    lines = [f"{content.subject.title} on {content.market}, trial {content.trial}", content.words, ""]
    return "\n".join([*lines, table(rows, columns), "", money, *content.notes])


def _row(name: str, figures: "Figures") -> dict[str, str]:
    sharpe = figures.sharpe
    return {
        "what": name,
        "net return": f"{figures.net_return:+.2%}",
        "a year": f"{figures.return_a_year:+.2%}",
        "Sharpe": "–" if sharpe is None else f"{sharpe.value:+.2f} ({sharpe.low:+.2f} to {sharpe.high:+.2f})",
        "drawdown": f"{-figures.maximum_drawdown:.2%}",
        "trades": str(figures.trades),
    }


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(backtest)
