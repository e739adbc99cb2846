"""What every test shares: Hypothesis without deadlines (machines are noisy) and the folder of real market files."""

import os
import signal
from pathlib import Path

import prometheus_client  # noqa: F401 - first: importing BentoML later would switch it to multi-process mode
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "tidegate", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("tidegate")

# Nothing reports home, and no test process starts a server of its own accord.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "false")
os.environ.setdefault("FEAST_USAGE", "False")

# A shell's background job ignores SIGINT, and so would every program that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real market files; tests that need it skip where it is missing."""
    folder = Path(os.environ.get("TIDEGATE_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "MANIFEST.csv").exists():
        pytest.skip(f"no real market files at {folder}; set TIDEGATE_SHARED_DATA to their folder")
    return folder
