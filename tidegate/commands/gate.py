"""``tidegate gate offline`` and ``tidegate gate simulate``: judge a version, and measure the judges."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ExitCode
from tidegate.commands import gate_trace
from tidegate.commands.border import HERE, Json, State, Workspace, finish, load_settings, say
from tidegate.commands.release import Name, Version, model_of

if TYPE_CHECKING:
    from serving.release.evidence import Verdict
    from training.simulation.run import Rate, Simulation
    from training.simulation.verdict import Outcome, SimulationOptions

application = typer.Typer(
    name="gate", help="The offline gate: what it says about a version, and how often it is wrong.", no_args_is_help=True
)


@application.command()
def offline(
    version: Version, name: Name = None, workspace: Workspace = HERE, state: State = None, json: Json = False
) -> None:
    """Judge a registered version by the policy of params.yaml, rule by rule.

    The package is verified, its evidence must be the bundle it names, the trial ledger must still hold what the
    evidence rests on, and the time of a prediction is measured now. Exit code 3 when a rule refuses.

    Example: tidegate gate offline 3
    """
    settings = load_settings(state, "gate")
    import msgspec

    from core.params import read_params
    from tidegate.evidence import judge_registered
    from tidegate.platform import platform
    from training.evidence import GatePolicy

    policy = GatePolicy.from_params(read_params(workspace / "params.yaml"))
    model = name or model_of(workspace)
    with platform(settings) as addresses:
        found = judge_registered(addresses, model, version, policy)
    result = {
        "model": model,
        "version": version,
        "passed": found.verdict.passed,
        "rules": msgspec.to_builtins(found.verdict.rules),
        "policy": msgspec.to_builtins(policy),
        "latency": msgspec.to_builtins(found.latency),
        "bundle_digest": found.bundle.digest,
        "trials": list(found.bundle.record.used) if found.bundle.record else [],
        "notes": list(found.bundle.notes),
    }
    finish(
        result,
        json,
        "\n".join(_verdict_lines(version, f"{model} version {version} ({found.bundle.candidate})", found.verdict)),
    )
    if not found.verdict.passed:
        raise typer.Exit(ExitCode.REFUSED)


@application.command()
def simulate(
    offline: Annotated[bool, typer.Option("--offline", help="Simulate the offline gate.")] = False,
    online: Annotated[bool, typer.Option("--online", help="Simulate the online gate.")] = False,
    markets: Annotated[int, typer.Option(help="Markets without signal.", min=0)] = 200,
    planted: Annotated[int, typer.Option(help="Markets with a planted signal.", min=0)] = 50,
    trials: Annotated[int, typer.Option(help="Trials of each market's search.")] = 100,
    boosted: Annotated[int, typer.Option(help="Of these, fits of the real boosted trees.")] = 2,
    steps: Annotated[int, typer.Option(help="Bars of a market, four hours each.")] = 9000,
    strength: Annotated[float, typer.Option(help="Correlation of the planted state with the next return.")] = 0.08,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    fresh: Annotated[bool, typer.Option("--fresh", help="Judge markets again that were judged before.")] = False,
    streams: Annotated[int, typer.Option(help="Online: streams of each law without a difference.")] = 1000,
    planted_streams: Annotated[int, typer.Option(help="Online: streams of each law and effect with one.")] = 400,
    days: Annotated[int, typer.Option(help="Online: days, each looked at.")] = 250,
    decisions_per_day: Annotated[int, typer.Option(help="Online: decisions of a day.")] = 6,
    effect: Annotated[float, typer.Option(help="Online: planted mean of a block, in its standard deviations.")] = 0.25,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.", min=0)] = 20260101,
    workspace: Workspace = HERE,
    state: State = None,
    json: Json = False,
) -> None:
    """Measure both gates on simulated data: how often what is no better passes, and how often what is better does.

    Offline: each market is searched as a real one is: real features, labels, folds, costs, sizing, trial ledger,
    statistics and rules; the learner of most trials is a fast linear one. A killed run goes on where it was when called
    again. Online: the tests of a release look every day at streams of paired differences, beside a t-test that looks
    as often. Without either option both are measured.

    Example: tidegate gate simulate --offline --markets 60 --planted 30
    Example: tidegate gate simulate --online --days 250 --effect 0.25
    """
    settings = load_settings(state, "gate")
    from core.params import read_params
    from tidegate.commands.gate_online import online_lines, run_online
    from training.online import OnlineSettings
    from training.simulation.online import OnlineOptions
    from training.simulation.run import check_simulation
    from training.simulation.verdict import SimulationOptions

    both = offline == online
    params = read_params(workspace / "params.yaml")
    searched = SimulationOptions(trials=trials, boosted=boosted, steps=steps, strength=strength, seed=seed)
    streamed = OnlineOptions(
        streams=streams,
        planted=planted_streams,
        days=days,
        decisions_per_day=decisions_per_day,
        effect=effect,
        seed=seed,
    )
    if both or offline:
        check_simulation(markets, planted, searched, workers)
    if both or online:
        streamed.check(OnlineSettings.from_params(params))
    folder: Path = settings.state / "simulation"
    content: dict[str, Any] = {}
    lines: list[str] = []
    import msgspec

    if both or online:
        tested, page = run_online(streamed, params, folder)
        content["online"] = msgspec.to_builtins(tested) | {"page": str(page)}
        lines += online_lines(tested, page)
    if both or offline:
        result = _simulate_offline(markets, planted, searched, params, folder, workers, fresh)
        content["offline"] = msgspec.to_builtins(result) | {"folder": str(folder)}
        lines += _rate_lines(result)
    # One half alone is its own object: what reads the offline half today goes on doing so.
    finish(content if both else next(iter(content.values())), json, "\n".join(lines))


def _simulate_offline(
    markets: int,
    planted: int,
    options: "SimulationOptions",
    params: dict[str, Any],
    folder: Path,
    workers: int,
    fresh: bool,
) -> "Simulation":
    import shutil

    from training.simulation.run import simulate as run
    from training.simulation.run import simulation_digest

    if fresh:
        shutil.rmtree(folder / simulation_digest(options, params)[:16], ignore_errors=True)

    def report(outcome: "Outcome", done: int, of: int) -> None:
        which = "without signal" if outcome.kind == "none" else "planted"
        said = "passed" if outcome.passed else f"refused by {', '.join(outcome.failed)}"
        say(f"gate: {done}/{of}, market {outcome.number} {which}: Sharpe {outcome.sharpe:+.2f}, {said}")

    return run(markets, planted, options, params, folder, workers, report)


def _verdict_lines(version: str, what: str, verdict: "Verdict") -> list[str]:
    from training.evidence.presentation import verdict_lines

    scope = "live or paper" if verdict.passed else "paper only"
    return [
        *verdict_lines(what, verdict),
        f"→ charts: evidence/bundle.html of the version's run in MLflow; trials: `tidegate gate trace {version}`",
        f"→ a reviewer decides ({scope}): `tidegate approve {version} --reason …`, or `tidegate reject` likewise",
    ]


def _rate_lines(result: "Simulation") -> list[str]:
    options = result.options
    lines = [f"{options.trials} trials a market, {options.steps} bars, seed {options.seed}"]
    if result.false_passes is not None:
        lines.append(f"without signal, let through: {_shown(result.false_passes)}")
        if result.naive_profit is not None:
            lines.append(f"  profit interval above zero, by itself: {_shown(result.naive_profit)}")
        lines.append(f"  refused by: {_counts(result.refused_without_signal)}")
    if result.passes is not None:
        lines.append(f"planted (strength {options.strength:g}), let through: {_shown(result.passes)}")
        lines.append(
            f"  Bayes-optimal: log-loss skill {result.bayes_skill:+.3%}, on the direction "
            f"{result.bayes_direction_skill:+.3%}, Sharpe ratio {result.bayes_sharpe:+.2f} a year after cost; the "
            f"winners show {result.candidate_sharpe:+.2f}"
        )
        lines.append(f"  refused by: {_counts(result.refused_planted)}")
    return lines


def _shown(rate: "Rate") -> str:
    return f"{rate.count} of {rate.of}, {rate.value:.1%} (95 % interval {rate.low:.1%} to {rate.high:.1%})"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda item: -item[1])) or "nobody"


def register(app: typer.Typer) -> None:
    """Add the command group."""
    gate_trace.register(application)
    app.add_typer(application)
