"""Which ledger this installation counts its trials in, and under which lineage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.settings import Settings, get_settings
from training.trials.ledger import TrialLedger


def database_url(settings: Settings | None = None) -> str:
    """Return the URL of the trial ledger.

    It is the platform's database where one is configured (``TIDEGATE_DATABASE__URL``), else a SQLite file in the state
    directory. The embedded PostgreSQL that ``tidegate up`` runs does not count as configured, although its processes
    find it in that variable: a stage that DVC starts alone would not find it, and the trials would be counted in two
    places.
    """
    settings = settings or get_settings()
    if settings.database.url is not None:
        from core.embedded.postgres import EmbeddedPostgres

        url = settings.database.url.get_secret_value()
        if url != EmbeddedPostgres(settings.state / "postgres").url:
            return url
    return f"sqlite:///{ledger_file(settings)}"


def ledger_file(settings: Settings) -> Path:
    """Return the SQLite file that is the ledger where no database is configured."""
    return settings.state / "trials" / "trials.db"


def open_ledger(settings: Settings | None = None) -> TrialLedger:
    """Open the trial ledger of this installation. Use it as a context manager.

    Raises:
        UnavailableError: the database does not answer.
    """
    return TrialLedger(database_url(settings))


def data_lineage(params: Mapping[str, Any]) -> str:
    """Return the lineage under which trials on the market of a ``params.yaml`` are counted: ``<market>-<source>``.

    It names where the data come from and not how they stand today: a longer history, a corrected price, other features,
    labels or costs are further looks at the same market, and all of them count. The data as they were are in each
    row's ``data_digest``.

    Where the parameters name no source, the market alone is the lineage.
    """
    source = params["data"].get("source")
    return f"{params['market']}-{source}" if source else str(params["market"])
