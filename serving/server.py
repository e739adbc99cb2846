"""``python -m serving.server``: the inference service of one machine, on a private Ray of its own.

Starts Ray and Serve, declares the application, writes a ready file when ``/readyz`` answers, runs until SIGTERM or
SIGINT, then ends every process it started within seconds.
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import psutil
from pydantic import SecretStr

from core import stage
from core.embedded import guardian
from core.embedded.guarded import GuardedProcess
from core.errors import BadInputError, ExitCode, TidegateError, UnavailableError
from core.files import write_json
from core.logging import get_logger
from core.settings import Settings, get_settings
from serving.authentication import required_token_digest
from serving.environment import check_port, make_folder, ray_environment

_OBJECT_STORE_BYTES = 80 * 1024 * 1024  # nothing large passes through it; the smallest Ray accepts is 75 MB
_START_SECONDS = 120.0
_log = get_logger("serving")


class InferenceServer:
    """A private Ray with the application on it. ``start`` once, ``stop`` once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder: Path | None = None
        self.url = ""
        self.ready = False

    def start(self) -> None:
        """Start everything and return when the application answers; ``url`` is then set.

        Raises:
            ConfigurationError: it would listen beyond this machine without a token.
            BadInputError: the port is taken, or Ray is not installed.
            UnavailableError: the application does not answer within two minutes.
        """
        serving = self._settings.serving
        required_token_digest(serving)  # before anything is started
        port = check_port(serving.host, serving.port)
        self._folder = make_folder()
        os.environ.update(ray_environment(self._folder))
        started = time.perf_counter()

        try:
            import ray  # after the environment is set: Ray reads it at import
            from ray import serve
        except ImportError as error:
            shutil.rmtree(self._folder, ignore_errors=True)  # no log of Ray's to keep
            raise BadInputError(f"Ray Serve is not installed ({error}): pip install 'tidegate[serving]'") from None

        from serving.application import APPLICATION_NAME, build_application

        ray.init(
            address="local",
            namespace=APPLICATION_NAME,
            num_cpus=os.cpu_count(),
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _temp_dir=str(self._folder / "r"),
        )
        _log.info("ray started", seconds=round(time.perf_counter() - started, 1), folder=str(self._folder))
        quiet: dict[str, Any] = {"enable_access_log": False}
        serve.start(http_options={"host": serving.host, "port": port}, logging_config=quiet)
        serve.run(
            build_application(self._settings),
            name=APPLICATION_NAME,
            route_prefix="/",
            blocking=False,
            logging_config=quiet,
        )
        host = "127.0.0.1" if serving.host in ("", "0.0.0.0", "::") else serving.host
        self.url = f"http://{host}:{port}"
        self._await_answer()
        self.ready = True
        _log.info("serving", url=self.url, seconds=round(time.perf_counter() - started, 1))

    def _await_answer(self) -> None:
        """Wait until the replica itself says whether it is ready; HAProxy alone answers 404 and 500."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=2):
                    return
            except urllib.error.HTTPError as error:
                if error.code == 503 and b'"models"' in error.read():
                    _log.warning("serving without a verified model; publish one")
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise UnavailableError(f"the inference service does not answer at {self.url}; its logs are in {self._folder}")

    def stop(self) -> None:
        """End every process this one started, HAProxy first and gently.

        The folder is removed if the service ever answered; else Ray's logs stay there until the next start.
        """
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.name() == "haproxy":
                    process.send_signal(signal.SIGUSR1)  # accept no more, finish what is being answered
                    process.wait(timeout=0.5)
        deadline = time.monotonic() + 4
        while (children := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
            for process in children:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(children, timeout=0.5)
        if self._folder is not None and self.ready:
            shutil.rmtree(self._folder, ignore_errors=True)


def _on_stop_signal(stop: Callable[[], None]) -> None:
    """Call ``stop`` in a thread of its own on SIGTERM or SIGINT.

    A Python handler runs only when the main thread comes back from Ray's C++ code, which may take a minute, and Ray
    puts handlers of its own in place. The interpreter's wake-up pipe is written to at once and whoever handles.
    """
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        while os.read(read_end, 1)[0] not in (signal.SIGTERM, signal.SIGINT):
            pass
        stop()

    threading.Thread(target=wait, name="stop-signal", daemon=True).start()


def serve_until_stopped(settings: Settings, ready_file: Path | None) -> NoReturn:
    """Run the service until SIGTERM or SIGINT; then end with code 0 and leave no process behind.

    ``ready_file`` holds ``{"url": …, "pid": …}`` while the service answers; SIGTERM to that pid stops it too. Unless
    somebody guards this process already, the service runs under a guardian of its own: whoever is killed, in
    whatever order, Ray's daemons and HAProxy end as well.

    Raises:
        BadInputError: the port is taken, or Ray is not installed.
        UnavailableError: it could not start; nothing is left running.
        SystemExit: the service ended.
    """
    if guardian.TOKEN in os.environ:
        _serve(settings, ready_file)
    command = [sys.executable, "-m", "serving.server"]
    if ready_file is not None:
        command += ["--ready-file", str(ready_file.absolute())]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(ExitCode.OK))  # leaves the block below, which stops the service
    with GuardedProcess(command, environment=os.environ | _variables(settings)) as service:
        raise SystemExit(service.wait())


def _variables(settings: Settings) -> dict[str, str]:
    """The settings the service reads, as it reads them."""
    variables = {"TIDEGATE_STATE_DIRECTORY": str(settings.state)}
    for section in ("serving", "logging"):
        for name, value in getattr(settings, section).model_dump().items():
            if value is not None:
                text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                variables[f"TIDEGATE_{section}__{name}".upper()] = text
    return variables


def _serve(settings: Settings, ready_file: Path | None) -> NoReturn:
    server = InferenceServer(settings)
    ending = threading.Lock()

    def clean_up() -> None:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)
        server.stop()

    def stop() -> None:
        ending.acquire()
        _log.info("stopping")
        clean_up()
        _exit_now(ExitCode.OK)

    _on_stop_signal(stop)
    try:
        server.start()
        if ready_file is not None:
            write_json(ready_file, {"url": server.url, "pid": os.getpid()})
        threading.Event().wait()
        raise AssertionError("nobody sets that event")
    except BaseException as error:
        # The start may also fail because the other thread has just ended Ray under it; that thread exits then.
        ending.acquire()
        clean_up()
        if isinstance(error, TidegateError):
            raise
        if isinstance(error, SystemExit):  # Ray's own handler of SIGTERM was quicker
            _exit_now(ExitCode.OK)
        raise UnavailableError(f"the inference service could not start: {stage.one_line(str(error))}") from error


def _exit_now(code: int) -> NoReturn:
    """End without Ray's exit handlers, which would try to talk to processes that are gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m serving.server", description="Serve the approved models.")
    parser.add_argument("--ready-file", type=Path, help="write {url, pid} here while the service answers")
    arguments = parser.parse_args()
    serve_until_stopped(get_settings(), arguments.ready_file)


if __name__ == "__main__":
    try:
        stage.run(main, "serve")
    except SystemExit as end:
        _exit_now(int(end.code or 0))
