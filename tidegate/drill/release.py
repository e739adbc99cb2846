"""Two releases on a simulated market, every component real: a better model comes through, a worse one is taken back.

A first champion was trained where there was nothing to learn. A version that has learnt the momentum of the market, and
later one that was trained where the momentum had the other sign, are approved in the registry by setting the tag
``approval``, as the reviewers' page does. Everything after that happens by itself: the release service turns the tag
into a signed record, takes the version through shadow and canary, and promotes it or takes it back, while a trader
trades.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import TidegateError, UnavailableError
from core.files import write_json
from core.journal import read_entries
from core.params import read_params
from core.settings import Settings
from serving.release.publish import registry_client
from serving.release.states import TERMINAL, Release, ReleaseState
from tidegate.demo import services
from tidegate.demo.market import market_overlay
from tidegate.platform import Addresses
from tidegate.processes.supervisor import Supervisor
from tidegate.promotion import show_release
from tidegate.release import approve_version, registry_settings, release_room
from tidegate.release_page import write_release_page
from tidegate.services.environment import quiet_this_process
from tidegate.services.release import release_service
from tidegate.workspace import create_workspace, merge, pipeline_environment
from trading import records
from trading.trader import JOURNAL

MARKET = "planted"
STRATEGY = f"tidegate-{MARKET}"
_PER_SECOND = 8.0  # decision times: slow enough that the release service looks between them
_TRAINED = (  # which version, on which market
    ("champion", "aimless", " where there is nothing to learn"),
    ("better", MARKET, ""),
    ("worse", "reversed", " where the momentum has the other sign"),
)
_POLICY: Mapping[str, Any] = {
    "data": {"holdout": {"days": 240}},  # some eight minutes of trading at this pace
    # Fewer outcomes than a desk would ask for: the planted difference is large, and nobody waits for weeks here.
    "release": {
        "bento": False,
        "shadow": {"minimum_decisions": 50, "minimum_blocks": 5, "maximum_days": 30, "tests": ["harm", "calibration"]},
        "canary": [
            {"share": 0.05, "minimum_decisions": 40, "minimum_blocks": 4, "tests": ["harm", "calibration"]},
            {"share": 0.25, "minimum_decisions": 40, "minimum_blocks": 4, "tests": ["harm", "calibration"]},
            {"share": 0.5, "minimum_decisions": 40, "minimum_blocks": 4, "tests": ["benefit", "harm", "calibration"]},
        ],
    },
}


@dataclass
class ReleaseStory:
    """What happened. ``problems`` is empty when both releases ended as they must."""

    better: dict[str, Any] = field(default_factory=dict[str, Any])
    worse: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    pages: list[str] = field(default_factory=list[str])
    problems: list[str] = field(default_factory=list[str])
    session: dict[str, Any] = field(default_factory=dict[str, Any])


Approve = Callable[[Addresses, str, str], None]


def approve_by_tag(addresses: Addresses, version: str, reason: str) -> None:
    """Approve a version the way the reviewers' page does: by its tags."""
    client = registry_client(registry_settings(addresses))
    client.set_model_version_tag(STRATEGY, version, "approval_reason", reason)
    client.set_model_version_tag(STRATEGY, version, "approval", "approved")


def run_release_drill(
    settings: Settings, say: Callable[[str], None], approve: Approve = approve_by_tag, patience_seconds: float = 300.0
) -> ReleaseStory:
    """Train three versions, trade, release two of them, and check how each release ended.

    Args:
        settings: name the state directory; a fresh one.
        say: takes progress lines.
        approve: how a reviewer's decision comes into the registry.
        patience_seconds: how long each release may take.

    Raises:
        TidegateError: a service or a stage could not do its work; everything started has ended.
    """
    quiet_this_process()
    story = ReleaseStory()
    state, overlay = settings.state, merge(market_overlay(MARKET), _POLICY)
    workspace = state / "drill" / MARKET
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor(state, lambda event: None))
        say("starting PostgreSQL, Redis, MLflow and Prefect")
        addresses = stack.enter_context(services.demo_platform(settings, supervisor))
        begin = time.monotonic()
        versions: dict[str, str] = {}
        for name, market, words in _TRAINED:
            say(f"training the {name}{words}")
            path = str(Path(str(overlay["data"]["path"])).with_name(f"{market}.yaml"))
            folder = workspace if market == MARKET else state / "drill" / market
            versions[name] = _train(addresses, create_workspace(folder, merge(overlay, {"data": {"path": path}})))
        story.seconds["training"] = time.monotonic() - begin
        params = read_params(workspace / "params.yaml")
        approve_version(
            addresses, STRATEGY, versions["champion"], scope="paper", by="tidegate drill", reason="the first champion",
            params=params,
        )  # fmt: skip
        environment = addresses.environment() | pipeline_environment(workspace, state)
        serving = services.serving(settings, environment)
        release = release_service(state, workspace, environment)
        folder = state / "sessions" / "release-drill"
        broker = services.practice_broker(state, workspace, "bars", environment, folder)
        say("starting Ray Serve, the release service and the practice broker")
        supervisor.start(serving, release, broker)
        trader = services.Trader(state, workspace, "release-drill", serving.url, environment, folder, _PER_SECOND)
        with trader.running():
            _await_decisions(trader, 20)
            for name in ("better", "worse"):
                begin = time.monotonic()
                say(f"a reviewer approves version {versions[name]} ({name})")
                approve(addresses, versions[name], f"release drill: the {name} one")
                ended = _follow(addresses, trader, versions[name], params, say, patience_seconds)
                setattr(story, name, ended)
                story.seconds[name] = time.monotonic() - begin
                if ended.get("release"):
                    page = write_release_page(addresses, STRATEGY, ended["release"], params)
                    story.pages.append(page["page"])
            story.session = trader.status()
        story.session |= _answers(folder)
        _judge(addresses, story, versions)
    write_json(state / "reports" / "release-drill.json", {**vars(story), "versions": versions})
    return story


def _train(addresses: Addresses, workspace: Path) -> str:
    """Run the retraining flow and return the version it registered."""
    from flows.run import run_flow

    registered = run_flow(
        "retrain",
        {"workspace": str(workspace)},
        environment=addresses.environment() | pipeline_environment(workspace, addresses.state),
        log_file=addresses.state / "logs" / "flow-retrain.log",
    )
    return str(registered["version"])


def _await_decisions(trader: services.Trader, steps: int, timeout_seconds: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while trader.status().get("steps", 0) < steps:
        if time.monotonic() > deadline:
            raise UnavailableError(f"the trader made no {steps} steps in {timeout_seconds:.0f} s: see its log")
        time.sleep(0.2)


def _follow(
    addresses: Addresses,
    trader: services.Trader,
    version: str,
    params: Mapping[str, Any],
    say: Callable[[str], None],
    patience_seconds: float,
) -> dict[str, Any]:
    """Wait until the release of a version has ended; return it as ``tidegate release show`` does."""
    deadline, told = time.monotonic() + patience_seconds, ""
    while time.monotonic() < deadline:
        trader.require_running()
        with release_room(addresses) as room:
            mine = [one for one in room.releases.releases(STRATEGY) if one.version == version]
        if mine:
            words = mine[-1].words
            if words != told:
                told = words
                say(f"  version {version} is {words}")
            if _over(mine[-1]):
                return show_release(addresses, STRATEGY, mine[-1].release_id, params)
        time.sleep(0.5)
    with suppress(TidegateError):
        return show_release(addresses, STRATEGY, None, params)
    return {}


def _over(release: Release) -> bool:
    settled = release.state in TERMINAL or release.state is ReleaseState.CHAMPION
    return settled and release.applied >= release.sequence


def _answers(session: Path) -> dict[str, int]:
    """Return from the trader's journal how many steps it missed, and who answered its decisions."""
    found = {"steps_missed": 0, "answered_by_serve": 0, "answered_by_local": 0}
    for entry in read_entries(session / JOURNAL):
        record = records.decode(entry)
        if isinstance(record, records.StepMissed):
            found["steps_missed"] += 1
        elif isinstance(record, records.PredictionsMade):
            for prediction in record.predictions:
                found[f"answered_by_{prediction.answered_by}"] += 1
    return found


def _judge(addresses: Addresses, story: ReleaseStory, versions: Mapping[str, str]) -> None:
    """Say what is not as it must be."""
    if story.better.get("state") != "champion":
        story.problems.append(f"the better version is {story.better.get('state', 'not released')}, not the champion")
    if story.worse.get("state") != "rolled_back":
        story.problems.append(f"the worse version is {story.worse.get('state', 'not released')}, not rolled back")
    states = [line["to"] for line in story.worse.get("timeline", ())]
    if not any(str(name).startswith("canary") for name in states):
        story.problems.append("the worse version never reached the canary")
    with release_room(addresses) as room:
        room.releases.verify()
        room.approvals.verify_chain()
        pointer = room.store.pointer(STRATEGY)
        if pointer is None or pointer.version != versions["better"] or pointer.challenger is not None:
            story.problems.append("the policy does not name the better version alone")
        losers = [one for one in room.releases.releases(STRATEGY) if one.version == versions["worse"]]
        if losers and room.approvals.standing(losers[-1].model_digest, strategy=STRATEGY) is not None:
            story.problems.append("the worse version is not barred")
    if story.session["steps_missed"]:
        story.problems.append(f"the trader missed {story.session['steps_missed']} steps")
