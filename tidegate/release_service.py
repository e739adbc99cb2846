"""The release service: the guard, and everything that carries a release or a rollback on without a person.

``python -m tidegate.release_service --workspace W``, one process of ``tidegate up``. The guard's loop reads files only
and waits for nobody; what asks MLflow or the database has loops of its own.
"""

import argparse
import asyncio
import os
import queue
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from prometheus_client import Counter, Gauge

from core.clock import LiveClock
from core.errors import BadInputError, RefusedError, TidegateError, UnavailableError, UsageError
from core.files import write_json
from core.logging import configure_logging, get_logger
from core.params import read_params, required
from core.settings import Settings, get_settings
from serving.release.arm_figures import arm_measures, integrity_measures, plain
from serving.release.findings import Findings
from serving.release.guard import Guard
from serving.release.notifications import Notification, NotificationSink
from serving.release.rollback_completion import resume_rollbacks
from serving.release.triggers import Measure
from serving.release.webhooks import WebhookReceiver
from serving.store import ModelStore, Pointer
from serving.traffic.statistics import ArmWindow, ReplicaStatistics, read_replicas
from tidegate.release_figures import SlowFigures
from tidegate.release_http import HOST, Wish, application
from tidegate.release_loops import Loop
from tidegate.release_losses import losses
from tidegate.release_page import ReleasePages
from tidegate.release_work import ReleaseWork
from tidegate.rollback import Database, actions, by_hand, described, rollback_parameters
from trading.control.token import control_token

RESUME_SECONDS = 1.0
REVIEW_SECONDS = 1.0  # a reviewer looks for an answer in the page
RELEASE_SECONDS = 3.0
FIGURES_SECONDS = 5.0
ALERT_SECONDS = 5.0
BENTO_SECONDS = 60.0
PAGE_SECONDS = 15.0
STOP_SECONDS = 3.0  # for the turns under way; every one of them may be cut off
ARTIFACT_SECONDS = 60.0
_log = get_logger("tidegate")
_ROLLBACKS = Counter("tidegate_rollbacks", "Rollbacks put into force by this process", ["strategy", "trigger"])
_TRIGGERS = Gauge("tidegate_rollback_triggers", "Triggers that last", ["strategy", "arm", "kind", "severity"])
_TURNS = Gauge("tidegate_release_loop_age_seconds", "Since the last good turn of a loop", ["loop"])


class ReleaseService:
    """All loops of one state directory, and what its HTTP face shows and does."""

    def __init__(self, settings: Settings, workspace: Path) -> None:
        """Read the parameters; nothing is started.

        Raises:
            BadInputError: params.yaml is missing or cannot be used.
        """
        self.settings = settings
        self.workspace = workspace
        self.parameters = rollback_parameters(workspace)
        params = read_params(workspace / "params.yaml")
        self.strategy = f"tidegate-{required(params, 'market', workspace / 'params.yaml')}"
        self.clock = LiveClock()
        self.store = ModelStore(settings.state / "serving")
        self.database = Database(lambda: _database_url(settings))
        self.actions = actions(settings, self.database, self.clock)
        self._sink = NotificationSink(settings.state, settings.release.webhook_url)
        self._unsent: queue.Queue[Notification] = queue.Queue()
        self._replicas: list[ReplicaStatistics] = []
        self.work = ReleaseWork(settings, self.strategy, params, self.database, self.clock, self._unsent.put)
        self.pages = ReleasePages(settings.state, self.strategy, params, self.work.room)
        self.figures = SlowFigures(
            self.store, self.clock, self._findings, self._losses, workspace / "reports" / "drift" / "summary.json"
        )
        self.guard = Guard(
            self.store,
            self.parameters,
            [self._arms, self.figures.measures],
            self._unsent.put,
            self.clock,
            lambda strategy: plain(self._windows(), strategy),
        )
        self.guarding = Loop("guard", self.parameters.tick_seconds, self._tick, 1.0)
        self.completing = Loop("rollbacks", RESUME_SECONDS, self._resume, 1.0)
        releasing = Loop("releases", RELEASE_SECONDS, self.work.carry_on)
        self.work.told_of = releasing.wake
        self.reviewing = Loop("reviews", REVIEW_SECONDS, self.work.read_reviews)
        self._webhooks = WebhookReceiver(settings) if settings.mlflow.webhook_url is not None else None
        self.loops = (
            self.guarding,
            self.completing,
            releasing,
            self.reviewing,
            Loop("alerts", ALERT_SECONDS, self.work.compare),
            Loop("artifacts", ARTIFACT_SECONDS, self.work.compare_artifacts),
            Loop("bentos", BENTO_SECONDS, self.work.build),
            Loop("figures", FIGURES_SECONDS, self.figures.refresh),
            Loop("pages", PAGE_SECONDS, self.pages.refresh),
            Loop("notifications", 0.25, self._send),
        )

    def start(self) -> None:
        """Look once, then start every loop."""
        self._tick()
        for loop in self.loops:
            loop.start()

    def stop(self) -> None:
        """Stop every loop; a rollback under way is on disk and goes on at the next start."""
        deadline = time.monotonic() + STOP_SECONDS
        for loop in self.loops:
            loop.end()
        for loop in self.loops:
            loop.join(deadline)
        self.database.close()

    def press(self, wish: Wish) -> dict[str, Any]:
        """Carry out the button: the policy is in force when this returns, the rest follows at once.

        Raises:
            TidegateError: as ``tidegate.rollback.by_hand``.
        """
        record = by_hand(
            self.settings,
            wish.strategy or self.strategy,
            reason=wish.reason,
            parameters=self.parameters,
            to=wish.to,
            positions=wish.positions,
            by=f"http:{wish.by or 'unnamed'}",
            clock=self.clock,
        )
        _ROLLBACKS.labels(record.strategy, record.trigger.kind.value).inc()
        self.completing.wake()
        return described(record, self.settings.state)

    def told(self, headers: Mapping[str, str], body: bytes) -> None:
        """Look at the reviews now: the registry says that something was set.

        Raises:
            RefusedError, BadInputError: as ``WebhookReceiver.receive``; also where no webhooks are expected.
        """
        if self._webhooks is None:
            raise RefusedError("no webhooks are expected: set TIDEGATE_MLFLOW__WEBHOOK_URL")
        self._webhooks.receive(headers, body)
        self.reviewing.wake()

    def describe(self) -> dict[str, Any]:
        """Return the picture for ``/status`` and ``tidegate status``."""
        states = [loop.state() for loop in self.loops]
        troubles = {state.name: state.trouble for state in states if state.trouble}
        troubles |= self.figures.troubles
        troubles |= {f"guard of {name}": words for name, words in self.guard.troubles.items()}
        guard = self.guarding.state()
        looks = guard.age_seconds is not None and guard.age_seconds < max(5.0, 4 * self.parameters.tick_seconds)
        triggers = [
            {"strategy": strategy, "arm": arm, "version": version, "kind": kind.value, "severity": e.severity.value}
            for strategy, episodes in self.guard.episodes.items()
            for (arm, version, kind), e in episodes.items()
        ]
        return {
            "healthy": looks and not self.guard.troubles,
            "pid": os.getpid(),
            "strategy": self.strategy,
            "strategies": self.store.strategies(),
            "automatic": self.parameters.automatic,
            "triggers": triggers,
            "troubles": troubles,
            "loops": [msgspec.to_builtins(state) for state in states],
        }

    def _tick(self) -> None:
        self._replicas = read_replicas(self.settings.state)
        acted = self.guard.tick(self.clock.time_ns())
        for trigger in acted:
            _ROLLBACKS.labels(trigger.strategy, trigger.kind.value).inc()
        if acted:
            self.completing.wake()
        self.guard.rollbacks.clear()
        _TRIGGERS.clear()
        for strategy, episodes in self.guard.episodes.items():
            for (arm, _, kind), episode in episodes.items():
                _TRIGGERS.labels(strategy, arm, kind.value, episode.severity.value).set(1)
        for loop in self.loops:
            age = loop.state().age_seconds
            if age is not None:
                _TURNS.labels(loop.name).set(age)

    def _arms(self, policy: Pointer) -> Sequence[Measure]:
        now = self.clock.time_ns()
        found = arm_measures(self._windows(), policy, self.parameters, now)
        return [*found, *integrity_measures(self._replicas, policy, now)]

    def _windows(self) -> list[ArmWindow]:
        return [window for replica in self._replicas for window in replica.arms]

    def _findings(self, policy: Pointer) -> Findings | None:
        return self.work.findings.get(policy.strategy)

    def _resume(self) -> None:
        resume_rollbacks(self.store, self.actions, self.clock)

    def _losses(self, policy: Pointer, since_revision: int) -> Sequence[Any]:
        return losses(self.database.engine(), policy, since_revision) if _database_url(self.settings) else ()

    def _send(self) -> None:
        """Send what is waiting; what the webhook does not take now is tried again for as long as this process lives."""
        for _ in range(self._unsent.qsize()):
            notification = self._unsent.get()
            try:
                self._sink.send(notification)
            except UnavailableError:
                self._unsent.put(notification)
                raise


def _database_url(settings: Settings) -> str:
    return settings.database.url.get_secret_value() if settings.database.url is not None else ""


async def serve(settings: Settings, workspace: Path, ready_file: Path | None) -> None:
    """Run the service until SIGTERM or SIGINT.

    Raises:
        BadInputError: params.yaml cannot be used, or the port is taken.
        UnavailableError: the control token cannot be read or made.
    """
    service = ReleaseService(settings, workspace)
    token = control_token(settings.state, settings.trading.control_token)
    runner = web.AppRunner(application(service.describe, service.press, token, service.told), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, settings.release.port).start()
        except OSError as error:
            raise BadInputError(
                f"port {settings.release.port} is in use: set TIDEGATE_RELEASE__PORT to a free one"
            ) from error
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await asyncio.to_thread(service.start)
        try:
            url = f"http://{HOST}:{int(runner.addresses[0][1])}"
            if ready_file is not None:
                write_json(ready_file, {"pid": os.getpid(), "url": url})
            _log.info("release service ready", url=url, strategy=service.strategy)
            await stop.wait()
        finally:
            await asyncio.to_thread(service.stop)
    finally:
        await runner.cleanup()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service from a command line; return its exit code."""
    parser = argparse.ArgumentParser(prog="tidegate.release_service", description="Guard, approvals and releases.")
    parser.add_argument("--workspace", type=Path, default=Path())
    parser.add_argument("--ready-file", type=Path)
    options = parser.parse_args(arguments)
    try:
        settings = get_settings()
        configure_logging(settings.logging, "release")
        # A registry that is away is asked again by the loops, not inside a request for minutes.
        for name, value in (("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"), ("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")):
            os.environ.setdefault(name, value)
        asyncio.run(serve(settings, options.workspace.absolute(), options.ready_file))
    except TidegateError as error:
        sys.stderr.write(f"{error.message}\n")
        return UsageError.exit_code if isinstance(error, UsageError) else error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
