"""The embedded stores: PostgreSQL for ledger, approvals and trials; Redis for online features."""

from pathlib import Path

from core.embedded.postgres import EmbeddedPostgres
from core.embedded.redis import EmbeddedRedis
from tidegate.processes.service import EmbeddedService

POSTGRES = "postgres"
REDIS = "redis"


def postgres_service(state: Path) -> EmbeddedService:
    """PostgreSQL on ``<state>/postgres``."""
    return EmbeddedService(POSTGRES, EmbeddedPostgres(state / "postgres"))


def redis_service(state: Path, port: int = 0) -> EmbeddedService:
    """Redis on ``<state>/redis``."""
    return EmbeddedService(REDIS, EmbeddedRedis(state / "redis", port))
