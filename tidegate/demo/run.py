"""``tidegate demo``: the main job end to end, every component real.

An interrupted demo is started again: DVC runs what is missing of the pipeline, registration and approval are
idempotent, and trading begins a new session on a fresh practice account, so that its result is whole.
"""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from core.digest import digest_value
from core.domain import BarKind
from core.files import read_json, write_json
from core.params import read_params
from core.settings import Settings, get_settings
from monitoring.report.page import write_page
from monitoring.report.summary import RunSummary, StageRecord
from tidegate.broker_view import BrokerView, reconcile_ledger
from tidegate.demo import collect, services, verify
from tidegate.demo.flow_stages import Background, FlowStages
from tidegate.demo.market import market_overlay
from tidegate.demo.progress import Progress
from tidegate.demo.terminal import print_summary
from tidegate.demo.words import assumptions, next_steps
from tidegate.platform import Addresses
from tidegate.processes.supervisor import Event, Supervisor
from tidegate.services.environment import quiet_this_process
from tidegate.services.pusher import pusher_service
from tidegate.workspace import create_workspace, pipeline_environment

STAGES = [
    ("services", "Start services"),
    ("ingest", "Ingest and quality"),
    ("features", "Features"),
    ("dataset", "Labels and data set"),
    ("train", "Train models"),
    ("evaluate", "Evaluate and gate"),
    ("register", "Register"),
    ("approve", "Approve and publish"),
    ("serve", "Serve"),
    ("trade", "Trade unseen data"),
    ("reconcile", "Reconcile"),
    ("drift", "Drift"),
    ("report", "Report"),
]


@dataclass(frozen=True)
class DemoOptions:
    """What the user asked for."""

    market: str = "fixings"
    keep_up: bool = False
    state: Path = Path("var")
    json: bool = False


def run_demo(options: DemoOptions) -> tuple[dict[str, Any], str]:
    """Run the whole job; return the summary as plain JSON and one line of text.

    Raises:
        TidegateError: a stage could not do its work; everything it started has ended.
    """
    quiet_this_process()
    overlay = market_overlay(options.market)
    demo = _Demo(options, get_settings())
    summary = demo.run(overlay)
    print_summary(summary)
    reconciled = all(row.equal for row in summary.reconciliation)
    text = f"report: {summary.reports['report']}"
    if not reconciled:
        text += "; NOT reconciled with the broker"
    if not summary.replay["equal"]:
        text += f"; the journal made again gives something ELSE: see `tidegate replay {demo.session}`"
    return msgspec.to_builtins(summary), text


class _Demo:
    """One run: the parts that several stages share."""

    def __init__(self, options: DemoOptions, settings: Settings) -> None:
        self.options = options
        self.settings = settings
        self.state = options.state.absolute()
        self.workspace = self.state / "demo" / options.market
        self.started = datetime.now(UTC)
        self.session = f"demo-{options.market}-{self.started:%Y%m%dT%H%M%S}"
        self.folder = self.state / "sessions" / self.session
        self.progress = Progress(STAGES, quiet=False)
        self.results: dict[str, str] = {}
        self.links: dict[str, dict[str, str]] = {}

    def run(self, overlay: dict[str, Any]) -> RunSummary:
        """Run every stage in order under one supervisor."""
        with ExitStack() as stack:
            stack.enter_context(self.progress)
            supervisor = stack.enter_context(Supervisor(self.state, self._service_event))
            memory = stack.enter_context(services.MemoryMeter(os.getpid(), lambda: _service_pids(supervisor)))
            with self.progress.stage("services") as stage:
                workspace_ready = Background(lambda: create_workspace(self.workspace, overlay))
                addresses = stack.enter_context(services.demo_platform(self.settings, supervisor))
                workspace_ready.result()
                stage.detail = f"PostgreSQL, Redis, MLflow {addresses.mlflow_uri}, Prefect {_page(addresses)}"
            environment = addresses.environment() | pipeline_environment(self.workspace, self.state)
            serving = services.serving(self.settings, environment)
            pusher = pusher_service(addresses.redis_url, self.workspace, environment)
            registered = self._retrain(addresses, environment, lambda: supervisor.start(serving, pusher))
            approval = self._approve(addresses, registered)
            with self.progress.stage("serve") as stage:
                self.serving_started.result()
                services.await_champion(serving.url, registered["model_digest"])
                stage.detail = f"Ray Serve answers at {serving.url} with model {registered['model_digest'][:12]}"
            session, fills = self._trade(supervisor, addresses, environment, serving.url)
            reconciliation, parity, replay = self._verify(addresses, supervisor, session)
            drift = self._drift(environment)
            summary = self._report(
                addresses, registered, approval, session, fills, reconciliation, parity, replay, drift, memory.peak_mb
            )
            if self.options.keep_up:
                self._keep_up(supervisor, environment, addresses)
        return summary

    def _service_event(self, event: Event) -> None:
        stage = self.progress.stages["services"]
        if stage.state == "running":
            self.progress.note("services", f"{event.service} {event.state} {event.detail}".strip())

    def _retrain(self, addresses: Addresses, environment: dict[str, str], start_serving: Any) -> dict[str, Any]:
        """Run the retraining flow; its DVC stages are shown under ours. Serving starts beside it."""
        from flows.run import run_flow

        shown = FlowStages(self.progress)
        self.serving_started: Background

        def on_event(event: dict[str, Any]) -> None:
            shown.take(event)
            # Ray takes half a minute to start and little of it is computing: beside the models is the time for it.
            if (
                event["event"] == "stage"
                and event["stage"].startswith("train")
                and not hasattr(self, "serving_started")
            ):
                self.serving_started = Background(start_serving)

        with shown:
            registered = run_flow(
                "retrain",
                {"workspace": str(self.workspace)},
                environment=environment,
                on_event=on_event,
                log_file=self.state / "logs" / "flow-retrain.log",
            )
        if not hasattr(self, "serving_started"):
            self.serving_started = Background(start_serving)
        evaluation = read_json(self.workspace / "reports" / "evaluation" / "evaluation.json")
        quality = read_json(self.workspace / "reports" / "quality" / "quality.json")
        self.results |= {
            "ingest": f"{quality['rows_kept']:,} of {quality['rows_in']:,} rows kept, quality {quality['score']:.3f}",
            "features": self._features_words(),
            "dataset": f"{evaluation['rows']:,} out-of-sample rows in {evaluation['folds']} folds",
            "train": ", ".join(f"{name} {entry['log_loss']:.4f}" for name, entry in evaluation["models"].items()),
            "evaluate": evaluation["words"],
            "register": f"{registered['name']} version {registered['version']}",
        }
        for key in ("ingest", "features", "dataset", "train", "evaluate", "register"):
            self.progress.stages[key].detail = self.results[key]
        run_url = f"{addresses.mlflow_uri}/#/experiments/{registered['experiment_id']}"
        version_url = f"{addresses.mlflow_uri}/#/models/{registered['name']}/versions/{registered['version']}"
        self.links |= {
            "ingest": {"quality report": _uri(self.workspace / "reports" / "quality" / "quality.html")},
            "train": {"runs in MLflow": run_url},
            "evaluate": {"evaluation": _uri(self.workspace / "reports" / "evaluation" / "evaluation.json")},
            "register": {"version in MLflow": version_url},
        }
        return registered

    def _features_words(self) -> str:
        description = read_json(self.workspace / "data" / "processed" / "features" / "features.json")
        return f"{len(description['columns'])} features, set {description['set']} {description['digest'][:12]}"

    def _approve(self, addresses: Addresses, registered: dict[str, Any]) -> dict[str, Any]:
        from tidegate.release import approve_version

        passed = registered["verdict"] == "passed"
        reason = (
            "the offline gate passed; approved for paper trading by the demo"
            if passed
            else "the offline gate failed; approved for paper trading only, to show the platform at work"
        )
        with self.progress.stage("approve") as stage:
            approval = approve_version(
                addresses, registered["name"], registered["version"], scope="paper", by="tidegate demo", reason=reason
            )
            stage.detail = f"scope paper, record {approval['sequence']} {approval['hash'][:12]}: {reason}"
        self.results["approve"] = stage.detail
        return approval

    def _trade(
        self, supervisor: Supervisor, addresses: Addresses, environment: dict[str, str], serving_url: str
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        self.kind = self._market_kind()
        feed = "fixings" if self.kind is BarKind.FIXING else "bars"
        with self.progress.stage("trade") as stage:
            broker = services.practice_broker(self.state, self.workspace, feed, environment, self.folder)
            supervisor.start(broker)
            steps, stream = self._steps_ahead(), self._feature_stream()
            published = services.published_steps(addresses.redis_url, stream)
            trader = services.Trader(self.state, self.workspace, self.session, serving_url, environment, self.folder)

            def on_status(status: dict[str, Any]) -> None:
                done = min(1.0, status["steps"] / max(1, steps))
                day = str(status["processed_through"] or "")[:10]
                detail = f"{day} {status['orders']} orders, value {status['equity']:,.2f}"
                self.progress.note("trade", detail, done)

            session = trader.run(on_status)
            stage.detail = (
                f"{session['decisions']:,} decisions, {session['orders']:,} orders, {session['fills']:,} fills, "
                f"value {session['equity']:,.2f} {session['account_currency']}; "
                + services.await_pushed(addresses.redis_url, stream, published)
            )
        self.results["trade"] = stage.detail
        self.links["trade"] = {"session": _uri(self.folder / "summary.json")}
        self.view = _broker_view(self.folder)
        return session, self.view.fills()

    def _feature_stream(self) -> str:
        from features.sets import feature_set

        return feature_set(str(read_params(self.workspace / "params.yaml")["features"]["set"])).stream

    def _market_kind(self) -> BarKind:
        return (
            BarKind.FIXING
            if read_params(self.workspace / "params.yaml")["features"]["set"] == "fixings"
            else BarKind.BAR
        )

    def _steps_ahead(self) -> int:
        import pyarrow.parquet as parquet

        folder = self.workspace / "data" / "processed" / "features"
        times = parquet.read_table(folder / "features.parquet", columns=["event_timestamp"])["event_timestamp"]
        cutoff_us = int(read_json(folder / "features.json")["cutoff_ns"]) // 1000
        unique = np.unique(times.to_numpy().astype("datetime64[us]").astype(np.int64))
        return int((unique >= cutoff_us).sum())

    def _verify(self, addresses: Addresses, supervisor: Supervisor, session: dict[str, Any]) -> tuple[Any, Any, Any]:
        with self.progress.stage("reconcile") as stage:
            rows = reconcile_ledger(addresses.database_url, self.session, self.view)
            parity = verify.feature_parity(self.workspace, Path(session["live_features_path"]), self.kind)
            supervisor.stop([services.PRACTICE])
            equal = sum(row.equal for row in rows)
            replay = verify.replayed(self.folder)
            stage.detail = f"{equal} of {len(rows)} items equal; {parity['words']}; {replay['words']}"
        self.results["reconcile"] = stage.detail
        return rows, parity, replay

    def _drift(self, environment: dict[str, str]) -> dict[str, Any]:
        from flows.run import run_flow

        with self.progress.stage("drift") as stage:
            result = run_flow(
                "drift",
                {"workspace": str(self.workspace)},
                environment=environment,
                log_file=self.state / "logs" / "flow-drift.log",
            )
            drift = {**result["assessment"], "words": read_json(Path(result["summary"]))["words"]}
            stage.detail = drift["words"]
        self.results["drift"] = stage.detail
        self.links["drift"] = {"Evidently report": _uri(Path(result["html"]))}
        return {**drift, "html": result["html"]}

    def _report(
        self, addresses: Addresses, registered: dict[str, Any], approval: dict[str, Any], session: dict[str, Any],
        fills: list[dict[str, Any]], reconciliation: Any, parity: Any, replay: dict[str, Any], drift: dict[str, Any],
        memory_peak_mb: float,
    ) -> RunSummary:  # fmt: skip
        with self.progress.stage("report") as stage:
            summary = self._summary(
                addresses, registered, approval, session, fills, reconciliation, parity, replay, drift, memory_peak_mb
            )
            prices = collect.recorded_prices(
                self.workspace, summary.instruments, session["first_step_ns"], session["last_step_ns"]
            )
            page = Path(summary.reports["report"])
            write_page(summary, collect.chart_data(self.workspace, session, fills, prices), page)
            write_json(page.with_suffix(".json"), msgspec.to_builtins(summary))
            stage.detail = str(page)
        return summary

    def _summary(
        self, addresses: Addresses, registered: dict[str, Any], approval: dict[str, Any], session: dict[str, Any],
        fills: list[dict[str, Any]], reconciliation: Any, parity: Any, replay: dict[str, Any], drift: dict[str, Any],
        memory_peak_mb: float,
    ) -> RunSummary:  # fmt: skip
        evaluation = read_json(self.workspace / "reports" / "evaluation" / "evaluation.json")
        params = read_params(self.workspace / "params.yaml")
        passed = evaluation["verdict"]["passed"]
        let_through = evaluation["words"] + (
            " It is approved for paper trading."
            if passed
            else " It was let through to paper trading only, by an approval that says so, to show the rest of the "
            "platform at work; a paper approval never trades on a live account."
        )
        fill_facts = [[f["id"], f["instrument"], f["units"], f["price"], f["pl"], f["time"]] for f in fills]
        report = self.workspace / "reports" / "report.html"
        seconds = {key: stage.seconds for key, stage in self.progress.stages.items()}
        results = {key: stage.detail for key, stage in self.progress.stages.items()} | self.results
        return RunSummary(
            market=str(params["market"]),
            instruments=sorted(params["data"]["instruments"]),
            started=f"{self.started:%Y-%m-%d %H:%M:%S} UTC",
            seconds=self.progress.seconds,
            simulated=assumptions(self.kind, params),
            stages=[
                StageRecord(key, title, seconds[key], results[key], self.links.get(key, {}))
                for key, title in STAGES
                if key != "report"
            ],
            quality=read_json(self.workspace / "reports" / "quality" / "quality.json"),
            models=collect.model_skills(evaluation),
            verdict=evaluation["verdict"],
            let_through=let_through,
            registered={
                "name": registered["name"],
                "version": registered["version"],
                "digest": registered["model_digest"],
            },
            trading=collect.trading(session, seconds["trade"]),
            latencies=collect.latencies(session),
            reconciliation=reconciliation,
            parity=parity,
            replay=replay,
            drift=drift,
            digests={
                "model": registered["model_digest"],
                "evidence": registered["evidence_digest"],
                "data": registered["data_digest"],
                "features": registered["feature_digest"],
                "approval": approval["hash"],
                "orders": session["order_digest"],
                "fills": digest_value(fill_facts),
                "code": registered["git_commit"],
            },
            memory_peak_mb=memory_peak_mb,
            reports={
                "report": str(report),
                "quality": str(self.workspace / "reports" / "quality" / "quality.html"),
                "drift": str(drift["html"]),
                "session": str(self.folder / "summary.json"),
            },
            next_steps=next_steps(self.options.keep_up, self.settings, addresses, registered),
        )

    def _keep_up(self, supervisor: Supervisor, environment: dict[str, str], addresses: Addresses) -> None:
        """Add what a standing platform has besides, then leave everything running."""
        from tidegate.services.deployments import deployments_service

        supervisor.start(deployments_service(addresses.prefect_api_url, self.workspace, self.state, environment))
        supervisor.release()


def _service_pids(supervisor: Supervisor) -> list[int]:
    return [s.process.pid for s in supervisor.services.values() if s.process is not None and s.process.pid]


def _broker_view(folder: Path) -> BrokerView:
    ready = read_json(folder / "practice-broker.json")
    return BrokerView(ready["rest_url"], ready["token"], ready["account_id"])


def _page(addresses: Addresses) -> str:
    return addresses.prefect_api_url.removesuffix("/api")


def _uri(path: Path) -> str:
    return path.absolute().as_uri()
