"""The servers of the serving benchmark, each in a process of its own on a free port: ours, MLflow's, BentoML's."""

import os
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from core.embedded.guarded import GuardedProcess
from core.errors import UnavailableError
from serving.environment import free_ports
from serving.release.evidence import MODEL_FILE, VerifiedPackage
from tidegate.processes.readiness import answers, read_ready_file
from tidegate.services.environment import QUIET

START_SECONDS = 180.0
MODEL_VARIABLE = "TIDEGATE_BENCH_MODEL"  # where the bare BentoML service finds its file
_ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def inference_service(
    state: Path, folder: Path, variables: Mapping[str, str] | None = None
) -> Generator[tuple[str, GuardedProcess]]:
    """Run ``python -m serving.server`` over the models of ``state``; yield its address and process.

    Args:
        state: the state directory.
        folder: for its log and ready file.
        variables: settings of the service, beside the inherited ones.

    Raises:
        UnavailableError: it did not start; with the last line it said.
    """
    ready_file = folder / "serving.ready"
    ready_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "serving.server", "--ready-file", str(ready_file)]
    environment = {"TIDEGATE_STATE_DIRECTORY": str(state), "TIDEGATE_SERVING__PORT": "0", **(variables or {})}
    with _run("the inference service", command, environment, folder / "serving.log", folder) as process:
        _await(process, lambda: read_ready_file(ready_file) is not None, "the inference service")
        address = read_ready_file(ready_file)
        assert address is not None
        yield str(address["url"]), process


@contextmanager
def mlflow_server(package: VerifiedPackage, folder: Path) -> Generator[str]:
    """Serve the package's ONNX file with ``mlflow models serve``, MLflow's own flavour for it; yield its address.

    Raises:
        UnavailableError: it did not start.
    """
    import mlflow.onnx
    import onnx

    model = folder / "mlflow-model"
    requirements = ["mlflow", "onnx", "onnxruntime"]  # given: MLflow would spend a minute to find them out
    mlflow.onnx.save_model(onnx.load(package.folder / MODEL_FILE), str(model), pip_requirements=requirements)
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(model)]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    with _run("mlflow models serve", command, {}, folder / "mlflow.log", folder) as process:
        url = f"http://127.0.0.1:{port}"
        _await(process, answers("GET", f"{url}/version", accept=lambda answer: True), "mlflow models serve")
        yield url


@contextmanager
def bentoml_server(what: str, folder: Path, variables: Mapping[str, str], name: str) -> Generator[str]:
    """Serve ``what``, a Bento's tag or ``module:Class``, with ``bentoml serve``; yield its address.

    Raises:
        UnavailableError: it did not start.
    """
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "bentoml", "serve", what, "--host", "127.0.0.1", "--port", str(port)]
    with _run(f"bentoml serve {what}", command, variables, folder / f"{name}.log", folder) as process:
        url = f"http://127.0.0.1:{port}"
        _await(process, answers("GET", f"{url}/readyz", accept=lambda answer: True), f"bentoml serve {what}")
        yield url


@contextmanager
def _run(
    what: str, command: list[str], variables: Mapping[str, str], log: Path, folder: Path
) -> Generator[GuardedProcess]:
    """Run a command with this environment's programs and our packages in reach."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, **QUIET, "PATH": path, "PYTHONPATH": str(_ROOT), **variables}
    with GuardedProcess(command, environment=environment, log_file=log, directory=folder) as process:
        yield process


def _await(process: GuardedProcess, ready: Callable[[], bool], what: str) -> None:
    """Wait for an answer.

    Raises:
        UnavailableError: it ended, or did not answer in three minutes.
    """
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if not process.running or time.monotonic() > deadline:
            assert process.log_file is not None
            lines = process.log_file.read_text(errors="replace").splitlines() or ["no output"]
            raise UnavailableError(f"{what} did not start: {lines[-1]}")
        time.sleep(0.05)
