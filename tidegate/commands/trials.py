"""``tidegate trials list | studies | show | compare | verify``: read the ledger that counts every fit and backtest."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ExitCode
from tidegate.commands.border import Json, State, finish, load_settings, table

if TYPE_CHECKING:
    from training.trials import Gap, StudySummary, TrialRecord
    from training.trials.comparison import TrialComparison

Lineage = Annotated[
    str | None, typer.Option("--lineage", help="Trials on the data of one market, such as fixings-ecb.")
]
Study = Annotated[str | None, typer.Option("--study", help="Trials of one retraining or search.")]
_TOLD_FIRST = ("log_loss", "sharpe", "skill")  # of the results, in a list with room for three
_WIDEST = 60  # of a cell: parameters of a search can be long

application = typer.Typer(
    name="trials", help="The trial ledger: every fit and every backtest that was ever begun.", no_args_is_help=True
)


@application.command("list")
def list_trials(
    study: Study = None,
    lineage: Lineage = None,
    status: Annotated[
        str | None, typer.Option("--status", help="running, completed, failed, pruned or lost.", show_default=False)
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="fit or backtest.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", help="The newest so many.", min=1)] = 50,
    state: State = None,
    json: Json = False,
) -> None:
    """Show trials, the newest first.

    Example: tidegate trials list --lineage fixings-ecb --status lost
    """
    settings = load_settings(state, "trials")
    import msgspec

    from training.trials.session import open_ledger

    with open_ledger(settings) as ledger:
        found = ledger.trials(lineage, study, kind, status, limit=limit, newest=True)
        place = ledger.url
    columns = ["trial", "study", "kind", "subject", "status", "attempt", "begun", "seconds", "result"]
    text = table([_line(record) for record in found], columns) if found else f"no such trial in {place}"
    finish({"ledger": place, "trials": msgspec.to_builtins(found)}, json, text)


@application.command()
def studies(lineage: Lineage = None, state: State = None, json: Json = False) -> None:
    """Show retrainings and searches with what became of their trials.

    Example: tidegate trials studies
    """
    settings = load_settings(state, "trials")
    import msgspec

    from training.trials.session import open_ledger

    with open_ledger(settings) as ledger:
        found = ledger.studies(lineage)
        place = ledger.url
    columns = ["study", "lineage", "kinds", "trials", "outcomes", "begun", "last closed"]
    text = table([_study(one) for one in found], columns) if found else f"no study in {place}"
    finish({"ledger": place, "studies": msgspec.to_builtins(found)}, json, text)


@application.command()
def show(
    trial: Annotated[str, typer.Argument(help="Id of a trial, as `tidegate trials list` shows it.")],
    state: State = None,
    json: Json = False,
) -> None:
    """Show everything on record about one trial.

    Example: tidegate trials show fixings-ecb:12
    """
    settings = load_settings(state, "trials")
    import msgspec

    from training.trials.session import open_ledger

    with open_ledger(settings) as ledger:
        (record,) = ledger.trials(ids=[trial])
    finish(msgspec.to_builtins(record), json, _everything(record))


@application.command()
def compare(
    trials: Annotated[list[str], typer.Argument(help="Ids of two or more trials.")],
    state: State = None,
    json: Json = False,
) -> None:
    """Show trials side by side: parameters that differ, results, losses per fold, and paired net returns.

    Example: tidegate trials compare fixings-ecb:12 fixings-ecb:15
    """
    settings = load_settings(state, "trials")
    import msgspec

    from training.trials.comparison import compare as put_side_by_side
    from training.trials.session import open_ledger

    with open_ledger(settings) as ledger:
        result = put_side_by_side(ledger, trials)
    finish(msgspec.to_builtins(result), json, _side_by_side(result))


@application.command()
def verify(lineage: Lineage = None, state: State = None, json: Json = False) -> None:
    """Look for trials that were edited, deleted or inserted behind the ledger's back; all lineages unless one is named.

    Exit code 3: something was found.

    Example: tidegate trials verify --lineage fixings-ecb
    """
    settings = load_settings(state, "trials")
    import msgspec

    from core.errors import BadInputError
    from training.trials.session import open_ledger

    with open_ledger(settings) as ledger:
        known = ledger.lineages()
        if lineage is not None and lineage not in known:
            raise BadInputError(f"no lineage {lineage!r} in {ledger.url}: there are {', '.join(known) or 'none'}")
        chosen = known if lineage is None else [lineage]
        heads = {name: ledger.head(name) for name in chosen}
        gaps = {name: ledger.verify(name) for name in chosen}
    lines = [_verdict(name, heads[name].sequence, gaps[name]) for name in chosen] or ["the ledger is empty"]
    whole = not any(gaps.values())
    result = {"whole": whole, "heads": msgspec.to_builtins(heads), "gaps": msgspec.to_builtins(gaps)}
    finish(result, json, "\n".join(lines))
    if not whole:
        raise typer.Exit(ExitCode.REFUSED)


def _line(record: "TrialRecord") -> dict[str, Any]:
    first = sorted(record.values, key=lambda name: (name not in _TOLD_FIRST, name))[:3]
    result = ", ".join(f"{name} {record.values[name]:.4g}" for name in first)
    seconds = "" if record.duration_ns is None else f"{record.duration_ns / 1e9:.1f}"
    return {
        "trial": record.id,
        "study": record.study,
        "kind": record.kind,
        "subject": record.subject,
        "status": str(record.status),
        "attempt": record.attempt,
        "begun": _time(record.begun_ns),
        "seconds": seconds,
        "result": _short(result or record.reason),
    }


def _study(one: "StudySummary") -> dict[str, Any]:
    return {
        "study": one.study,
        "lineage": one.lineage,
        "kinds": ", ".join(one.kinds),
        "trials": one.trials,
        "outcomes": ", ".join(f"{count} {status}" for status, count in one.statuses.items()),
        "begun": _time(one.first_begun_ns),
        "last closed": "" if one.last_closed_ns is None else _time(one.last_closed_ns),
    }


def _everything(record: "TrialRecord") -> str:
    from training.trials.comparison import flatten

    rows: list[Mapping[str, Any]] = []
    for name in record.__struct_fields__:
        value: Any = getattr(record, name)
        if name in ("begun_ns", "closed_ns") and value is not None:
            rows.append({"what": name.removesuffix("_ns"), "value": _time(value)})
        elif name == "duration_ns":
            rows.append({"what": "seconds", "value": "" if value is None else f"{value / 1e9:.2f}"})
        elif name == "folds":
            for fold in record.folds:
                rows.append({"what": f"fold {fold.number}", "value": f"loss {fold.loss:.6g}, {fold.rows} rows"})
        elif name in ("parameters", "values"):
            rows += [{"what": f"{name}.{key}", "value": part} for key, part in flatten(dict(value or {})).items()]
        else:
            rows.append({"what": name, "value": "" if value is None else value})
    return table(rows, ["what", "value"])


def _side_by_side(result: "TrialComparison") -> str:
    columns = ["", *[record.id for record in result.trials]]

    def block(title: str, rows: Mapping[Any, Sequence[Any]], shown: Any) -> list[str]:
        if not rows:
            return []
        lines = [
            {"": str(name), **dict(zip(columns[1:], map(shown, values), strict=True))} for name, values in rows.items()
        ]
        return [title, table(list[Mapping[str, Any]](lines), columns), ""]

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.6g}"

    text = block("tried differently", result.parameters, lambda value: "" if value is None else _short(str(value)))
    text += block("results", result.values, number)
    text += block("loss per fold", result.folds, number)
    for pair in result.pairs:
        alike = "one never moves" if pair.correlation is None else f"correlation {pair.correlation:.3f}"
        told_apart = pair.low > 0 or pair.high < 0
        verdict = "the two differ" if told_apart else "no difference can be told"
        text.append(
            f"{pair.other} minus {pair.first}: {pair.difference:+.3e} a step [{pair.low:+.3e}, {pair.high:+.3e}] "
            f"over {pair.steps} common steps, {alike}: {verdict}"
        )
    if result.without_returns:
        text.append(f"no return series on record: {', '.join(result.without_returns)}")
    return "\n".join(text).rstrip()


def _verdict(lineage: str, begun: int, gaps: Sequence["Gap"]) -> str:
    if not gaps:
        return f"{lineage}: {begun} trials, whole"
    return "\n".join([f"{lineage}: {begun} trials begun, {len(gaps)} faults", *[f"  {gap.words}" for gap in gaps]])


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _time(time_ns: int) -> str:
    from core.clock import to_rfc3339

    return f"{to_rfc3339(time_ns)[:19]}Z"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(application)
