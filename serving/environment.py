"""Where a private Ray lives on this machine: its folder, its ports, its environment.

Ray reads these variables once, when it is imported; so they are set first, by ``serving.server``.
"""

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path

import psutil

from core.errors import BadInputError, UnavailableError
from core.files import write_bytes

# HAProxy's socket is <folder>/ha/<56 of a node id>/admin.sock.<pid>.tmp and a unix socket path ends at 107 characters:
# a state directory is nearly always too long for it.
_PARENT = Path("/tmp")
_OWNER_FILE = "owner"
_random = secrets.SystemRandom()


def make_folder() -> Path:
    """Return a new private folder for Ray, and remove those whose owners were killed."""
    for owner in _PARENT.glob(f"tg-*/{_OWNER_FILE}"):
        with contextlib.suppress(OSError, ValueError):
            if owner.stat().st_uid == os.getuid() and not _alive(owner.read_text()):
                shutil.rmtree(owner.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="tg-", dir=_PARENT))
    process = psutil.Process()
    write_bytes(folder / _OWNER_FILE, f"{process.pid} {process.create_time()}".encode())
    return folder


def _alive(owner: str) -> bool:
    """Whether the process still runs; with its creation time, a pid names one process for ever."""
    pid, created = owner.split()
    try:
        return psutil.Process(int(pid)).create_time() == float(created)
    except psutil.Error:
        return False


def check_port(host: str, port: int) -> int:
    """Return the port to serve on; 0 becomes a free one.

    Raises:
        BadInputError: somebody listens there, or the host is not of this machine.
    """
    if port == 0:
        return free_ports(1, host)[0]
    try:
        with socket.create_server((host, port)):
            return port
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]
        raise BadInputError(
            f"cannot serve on {host}:{port}: {reason}; stop what listens there or set TIDEGATE_SERVING__PORT"
        ) from None


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return ``count`` different TCP ports that are free now and that the kernel hands to nobody else.

    Ports of the kernel's own choice do not do: Ray's processes take many of those in the seconds until ours is bound.

    Raises:
        UnavailableError: there are none.
    """
    found: set[int] = set()
    for _ in range(200 * count):
        port = _random.randrange(*_unmanaged_ports())
        with contextlib.suppress(OSError), socket.create_server((host, port)):
            found.add(port)
        if len(found) == count:
            return sorted(found)
    raise UnavailableError(f"no {count} free ports on {host}; stop some servers")


def _unmanaged_ports() -> tuple[int, int]:
    """A range of ports outside the kernel's ephemeral one, end exclusive."""
    low, high = 32_768, 60_999
    with contextlib.suppress(OSError, ValueError):
        low, high = (int(n) for n in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    below, above = (10_240, low), (high + 1, 65_536)
    return max(below, above, key=lambda ports: ports[1] - ports[0])


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
        # A starting proxy that is slower is killed and the whole start fails: on a busy machine 5 s were too few.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "45",
        # A replica that died with the request in its hands: a prediction changes nothing, another replica makes it.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "65536",  # only what fits here can be sent again; 200 windows of 60
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",  # a log line per request; the replica has its own metrics
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
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
