"""Where the stores and servers of this state directory are: configured, running, or started for one command."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.settings import Settings
from tidegate.mlflow_app.account import sign_in_this_process
from tidegate.processes.records import RunRecord, read_records
from tidegate.services.environment import platform_environment, quiet_this_process


@dataclass(frozen=True)
class Addresses:
    """What a command needs to reach the platform. Empty where it was not asked for."""

    settings: Settings
    state: Path
    database_url: str = ""
    redis_url: str = ""
    mlflow_uri: str = ""
    prefect_api_url: str = ""

    def environment(self) -> dict[str, str]:
        """The variables under which a child process reaches the same platform."""
        return platform_environment(
            self.settings,
            state=self.state,
            database_url=self.database_url,
            redis_url=self.redis_url,
            mlflow_uri=self.mlflow_uri if self.mlflow_uri.startswith("http") else None,
            prefect_api_url=self.prefect_api_url,
        )


def running(state: Path) -> dict[str, RunRecord]:
    """Return the living services of a state directory by name."""
    return {record.name: record for record in read_records(state.absolute()) if record.alive}


@contextmanager
def platform(
    settings: Settings,
    *,
    database: bool = False,
    redis: bool = False,
    prefect: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Generator[Addresses]:
    """Yield the addresses a command needs. What is neither configured nor running is started, and ended afterwards.

    Raises:
        BadInputError: a wheel is missing.
        UnavailableError: a server does not come up.
    """
    quiet_this_process()
    sign_in_this_process(settings)
    state = settings.state
    alive = running(state)
    mlflow_uri = settings.mlflow.tracking_uri or (alive["mlflow"].url if "mlflow" in alive else "")
    with ExitStack() as stack:
        database_url = redis_url = prefect_api_url = ""
        if database:
            database_url = settings.database.url.get_secret_value() if settings.database.url else ""
            if not database_url:
                from core.embedded.postgres import EmbeddedPostgres

                database_url = stack.enter_context(EmbeddedPostgres(state / "postgres")).url
        if redis:
            redis_url = settings.redis.url.get_secret_value() if settings.redis.url else ""
            if not redis_url:
                from core.embedded.redis import EmbeddedRedis

                redis_url = stack.enter_context(EmbeddedRedis(state / "redis")).url
        if prefect:
            prefect_api_url = settings.prefect.api_url or (alive["prefect"].url if "prefect" in alive else "")
            if not prefect_api_url:
                from tidegate.processes.supervisor import Supervisor
                from tidegate.services.prefect import prefect_service

                say("starting a Prefect server for this command; `tidegate up` keeps one running")
                supervisor = stack.enter_context(Supervisor(state))
                service = prefect_service(state)
                supervisor.start(service)
                prefect_api_url = service.url
        yield Addresses(
            settings,
            state,
            database_url=database_url,
            redis_url=redis_url,
            mlflow_uri=mlflow_uri or settings.mlflow_tracking_uri,
            prefect_api_url=prefect_api_url,
        )
