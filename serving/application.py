"""The Ray Serve application: one deployment whose replicas answer from the model store on disk.

A replica imports no MLflow and no database driver: it starts and goes on without both. Versions change inside the
replica (``ChampionLoader``): a redeployment or a ``user_config`` change would stall or drop requests.
"""

from pathlib import Path
from typing import Any, cast

from core.logging import configure_logging
from core.settings import Settings
from serving.ingress import PredictionApplication
from serving.loader import ChampionLoader
from serving.predictor import PredictorCore
from serving.store import ModelStore

APPLICATION_NAME = "tidegate"
DEPLOYMENT_NAME = "predictions"
_ONGOING_REQUESTS = 256  # far more than a trader sends at once; past it Serve answers 503 instead of queueing


def build_asgi(root: Path, poll_seconds: float) -> PredictionApplication:
    """Return the ASGI application over the model store at ``root``."""
    core = PredictorCore()
    return PredictionApplication(core, ChampionLoader(ModelStore(root), core, poll_seconds))


def build_application(settings: Settings) -> Any:
    """Return the Ray Serve application to run; nothing is started."""
    from ray import serve

    root, poll_seconds, logging_settings = settings.state / "serving", settings.serving.poll_seconds, settings.logging

    def build() -> PredictionApplication:
        configure_logging(logging_settings, "replica")
        return build_asgi(root, poll_seconds)

    # Serve's decorator is typed for functions that it turns into classes.
    create = cast(Any, serve.deployment)
    return create(
        serve.ingress(build)(),
        name=DEPLOYMENT_NAME,
        num_replicas=settings.serving.replicas,
        max_ongoing_requests=_ONGOING_REQUESTS,
        ray_actor_options={"num_cpus": 0},  # scheduling is by replica count; a machine with one core serves too
        graceful_shutdown_timeout_s=2,
        health_check_period_s=5,
    ).bind()
