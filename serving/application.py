"""The Ray Serve application: one deployment whose replicas answer from the model store on disk.

A replica imports no MLflow and no database driver: it starts and goes on without both. Versions change inside the
replica (``ChampionLoader``): a redeployment or a ``user_config`` change would stall or drop requests.
"""

from pathlib import Path
from typing import Any, cast

from prometheus_client import CollectorRegistry

from core.logging import configure_logging
from core.settings import ServingSettings, Settings
from serving.authentication import Application, TokenAuthentication, required_token_digest
from serving.autoscaling import BusyPolicy, MeasuredReplica
from serving.ingress import PredictionApplication
from serving.limits import Limits, RequestLimits
from serving.loader import ChampionLoader
from serving.predictor import PredictorCore
from serving.store import ModelStore
from serving.traffic.statistics import FOLDER, ArmStatistics

APPLICATION_NAME = "tidegate"
DEPLOYMENT_NAME = "predictions"
_SPARE_REQUESTS = 64  # Serve's own limit lies above ours: it queues past it, and health checks must come through


def build_asgi(root: Path, poll_seconds: float, limits: Limits, token_digest: bytes | None) -> Application:
    """Return the ASGI application over the model store at ``root``.

    Args:
        root: ``<state>/serving``.
        poll_seconds: how often it looks for a changed policy.
        limits: what it takes on at a time.
        token_digest: SHA-256 of the token that a request must bring; None lets everybody ask.
    """
    core, registry = PredictorCore(ArmStatistics(root / FOLDER)), CollectorRegistry()
    loader = ChampionLoader(ModelStore(root), core, poll_seconds)
    application: Application = RequestLimits(PredictionApplication(core, loader, registry), limits, registry)
    return application if token_digest is None else TokenAuthentication(application, token_digest)


def replica_options(settings: ServingSettings) -> dict[str, Any]:
    """Return how many replicas there are: a fixed number, or Ray Serve's choice between two."""
    most = settings.maximum_replicas
    if most is None or most == settings.replicas:
        return {"num_replicas": settings.replicas}
    return {
        "autoscaling_config": {
            "min_replicas": settings.replicas,
            "max_replicas": most,
            "upscale_delay_s": settings.upscale_delay_seconds,
            "downscale_delay_s": settings.downscale_delay_seconds,
            "policy": {
                "policy_function": f"{BusyPolicy.__module__}:{BusyPolicy.__name__}",
                "policy_kwargs": {"target_busy": settings.target_busy},
            },
        }
    }


def build_application(settings: Settings) -> Any:
    """Return the Ray Serve application to run; nothing is started.

    Raises:
        ConfigurationError: it would listen beyond this machine without a token.
    """
    from ray import serve

    root, poll_seconds, logging_settings = settings.state / "serving", settings.serving.poll_seconds, settings.logging
    limits, digest = Limits.of(settings.serving), required_token_digest(settings.serving)

    def build() -> Application:
        configure_logging(logging_settings, "replica")
        return build_asgi(root, poll_seconds, limits, digest)

    # Serve's decorator is typed for functions that it turns into classes.
    create = cast(Any, serve.deployment)
    return create(
        serve.ingress(build)(MeasuredReplica),
        name=DEPLOYMENT_NAME,
        max_ongoing_requests=settings.serving.maximum_ongoing_requests + _SPARE_REQUESTS,
        ray_actor_options={"num_cpus": 0},  # scheduling is by replica count; a machine with one core serves too
        graceful_shutdown_timeout_s=2,
        health_check_period_s=5,
        **replica_options(settings.serving),
    ).bind()
