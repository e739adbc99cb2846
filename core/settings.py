"""All settings of one process, from ``TIDEGATE_…`` variables and ``.env``; nested with ``__``.

ML parameters are not here: they live in ``params.yaml``, tracked by DVC. Secrets are ``SecretStr``: they never reach a
log, a journal or a repr.
"""

from functools import lru_cache
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import ConfigurationError

_TOKEN_CHARACTERS = 16  # of a bearer token: `openssl rand -hex 32` gives 64


class Section(BaseModel):
    """A group of settings. An unknown key is an error: a typing mistake must not be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OandaSettings(Section):
    """Where the v20 account is. Unset hosts mean OANDA's practice environment."""

    environment: Literal["practice", "live"] = "practice"
    rest_url: str | None = None
    stream_url: str | None = None
    token: SecretStr | None = None
    account_id: SecretStr | None = None
    request_timeout_seconds: float = Field(default=5.0, gt=0)
    heartbeat_timeout_seconds: float = Field(default=12.0, gt=5.0)  # the broker beats every 5 s: two may be lost
    requests_per_second: float = Field(default=100.0, gt=0)  # documented limit 120
    connections_per_second: float | None = Field(default=None, gt=0)  # None: 2 at OANDA's hosts (its limit), else free


class DatabaseSettings(Section):
    """The platform's own database. Unset: embedded PostgreSQL under ``var/postgres``."""

    url: SecretStr | None = None


class RedisSettings(Section):
    """The online feature store. Unset: embedded Redis under ``var/redis``."""

    url: SecretStr | None = None


class MlflowSettings(Section):
    """Tracking and registry. Unset: a SQLite store under ``var/mlflow``, served by ``tidegate up``."""

    tracking_uri: str | None = None
    port: int = Field(default=5000, ge=0, le=65535)
    authentication: Literal["none", "basic"] = "none"  # basic: everybody signs in, only reviewers decide
    username: str = "tidegate"  # the platform's own account; of a server of `tidegate up` also its administrator
    password_file: Path | None = None  # of that account; unset: made once under ``keys`` of the state directory
    access_log: Path | None = None  # who set which tag, written by the server; unset: under ``mlflow`` of the state
    webhook_url: str | None = None  # where MLflow tells of new tags, so that nobody waits for the next look; unset: off


class ApprovalSettings(Section):
    """The approval ledger."""

    key_file: Path | None = None  # signs the records; unset: made once under ``keys`` of the state directory


class ReleaseSettings(Section):
    """The release service: guard, watcher of the registry, releases, and the rollback button. Loopback."""

    port: int = Field(default=8200, ge=0, le=65535)
    webhook_url: SecretStr | None = None  # takes notifications as JSON; unset: log and file only


class PrefectSettings(Section):
    """Orchestration server. Unset: a local server on ``port``, started by ``tidegate up``."""

    api_url: str | None = None
    port: int = Field(default=4200, ge=0, le=65535)


class ServingSettings(Section):
    """The Ray Serve application and its clients."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    token: SecretStr | None = None  # whoever has it may ask for predictions; a host that is not loopback needs one
    timeout_seconds: float = Field(default=0.25, gt=0)  # past it the trader answers from its own champion
    poll_seconds: float = Field(default=0.1, gt=0)  # how often replicas and traders look for a changed policy
    replicas: int = Field(default=1, ge=1)  # one answers some 1,000 single predictions a second on a core
    maximum_replicas: int | None = Field(default=None, ge=1)  # more than replicas: Ray Serve scales between the two
    target_busy: float = Field(default=0.6, gt=0, le=1)  # of a core, by replica, which autoscaling aims at
    upscale_delay_seconds: float = Field(default=10.0, ge=0)  # a burst shorter than a replica's start is over anyway
    downscale_delay_seconds: float = Field(default=300.0, ge=0)  # a replica costs memory, starting one costs a core
    # Past these a replica refuses at once with 503 and one line: a late answer is worth less than none.
    maximum_ongoing_requests: int = Field(default=256, ge=1)  # a trader has one under way at a time
    maximum_ongoing_megabytes: int = Field(default=256, ge=1)  # bodies of all requests under way in a replica
    maximum_body_megabytes: int = Field(default=64, ge=1, le=64)  # 8,192 rows of 20 x 60 floats are 39 MB

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.maximum_replicas is not None and self.maximum_replicas < self.replicas:
            raise ValueError(f"maximum_replicas {self.maximum_replicas} is less than replicas {self.replicas}")
        if self.maximum_body_megabytes > self.maximum_ongoing_megabytes:
            raise ValueError("maximum_body_megabytes is more than maximum_ongoing_megabytes: such a body never fits")
        token = self.token.get_secret_value() if self.token is not None else None
        if token is not None and (len(token) < _TOKEN_CHARACTERS or not token.isascii() or not token.isprintable()):
            raise ValueError(f"token: at least {_TOKEN_CHARACTERS} printable ASCII characters")
        return self


class TradingSettings(Section):
    """The trader process."""

    port: int = Field(default=8100, ge=0, le=65535)  # health, metrics, status; loopback
    account_currency: str = "USD"
    control_token: SecretStr | None = None  # turns the kill switch over HTTP; unset: made in the state directory


class TrainingSettings(Section):
    """Batch work on a machine that trades. The flows that `tidegate up` serves run in the background unless told."""

    priority: Literal["normal", "background"] = "normal"  # background: only the processor time nobody else wants
    cores: int | None = Field(default=None, ge=1)  # None: all of them


class LoggingSettings(Section):
    """Structured logging to stderr."""

    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """Everything a process needs to know about where it runs."""

    model_config = SettingsConfigDict(
        env_prefix="TIDEGATE_", env_nested_delimiter="__", env_file=".env", extra="ignore", frozen=True
    )

    state_directory: Path = Path("var")
    oanda: OandaSettings = OandaSettings()
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    mlflow: MlflowSettings = MlflowSettings()
    approval: ApprovalSettings = ApprovalSettings()
    release: ReleaseSettings = ReleaseSettings()
    prefect: PrefectSettings = PrefectSettings()
    serving: ServingSettings = ServingSettings()
    trading: TradingSettings = TradingSettings()
    training: TrainingSettings = TrainingSettings()
    logging: LoggingSettings = LoggingSettings()

    @property
    def state(self) -> Path:
        """The state directory as an absolute path."""
        return self.state_directory.absolute()

    @property
    def mlflow_tracking_uri(self) -> str:
        """The tracking URI to use: the configured server or the local SQLite store."""
        return self.mlflow.tracking_uri or f"sqlite:///{self.state / 'mlflow' / 'mlflow.db'}"


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read the settings once.

    Raises:
        ConfigurationError: a value is malformed; the message names the variable, never the value.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"TIDEGATE_{'__'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"bad settings: {problems}") from None
