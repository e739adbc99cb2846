"""The client library, tuned: a keep-alive session per thread, a time-out on everything, clear errors, no chance retry.

What the library lacks (see its source, 0.7.2): time-outs, back-off, any treatment of 429. It asks the questions here;
requests that can move money go through ``order_channel``.
"""

import os
import socket
import threading
import time
from typing import Any, Protocol, cast

import requests
from oandapyV20 import API, V20Error
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from core.errors import ConfigurationError, RateLimitedError, TidegateError, UnavailableError
from trading.brokers.oanda.environment import await_connection, rest_host
from trading.brokers.oanda.pacing import CONNECT_TIMEOUT_SECONDS, CircuitBreaker, TokenBucket, backoff_seconds
from trading.brokers.oanda.replies import Reply, refusal, unreadable

_IDEMPOTENT_TRIES = 4
_LONGEST_RETRY_AFTER = 10.0


class Endpoint(Protocol):
    """A request class of the library."""

    method: str
    response: Any


class _KeepAliveAdapter(HTTPAdapter):
    """Connections that probe an idle peer, so that a firewall that forgot one is found out before an order is sent."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        """Build the pool with TCP keep-alive."""
        socket_options = [
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
        ]
        super().init_poolmanager(connections, maxsize, block, socket_options=socket_options, **options)


def new_api(environment: str, token: str, timeout_seconds: float) -> API:
    """Build a library client of its own connection pool (one connection: a client belongs to one thread)."""
    api = API(
        access_token=token,
        environment=environment,
        headers={"Accept-Datetime-Format": "RFC3339"},
        # A redirect would turn a POST into a GET or send it twice; none is ever followed.
        request_params={"timeout": (CONNECT_TIMEOUT_SECONDS, timeout_seconds), "allow_redirects": False},
    )
    session = api.client
    # The environment is read once: per request it costs time, and a netrc entry would replace the token.
    session.trust_env = False
    session.proxies = get_environ_proxies(rest_host(environment))
    session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    adapter = _KeepAliveAdapter(pool_connections=2, pool_maxsize=1, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return api


class RestClient:
    """Blocking questions with pacing, back-off and circuit breaker, for worker threads.

    Args:
        environment: name in the library's table of hosts.
        token: bearer token.
        timeout_seconds: longest silence of a reply.
        bucket: the request limit, shared by all threads.
        breaker: the circuit, shared by all threads.
    """

    def __init__(
        self, environment: str, token: str, timeout_seconds: float, bucket: TokenBucket, breaker: CircuitBreaker
    ) -> None:
        self._environment = environment
        self._token = token
        self._timeout = timeout_seconds
        self._bucket = bucket
        self._breaker = breaker
        self._local = threading.local()
        self._lock = threading.Lock()
        self._apis: list[API] = []

    def read(self, endpoint: Endpoint, what: str) -> Reply:
        """Send a request that changes nothing; again after a pause where the broker was away or asked for patience.

        Raises:
            UnavailableError, RateLimitedError: still no answer after four tries, or the circuit is open.
            ConfigurationError: token refused or account forbidden.
        """
        for attempt in range(_IDEMPOTENT_TRIES):
            self._breaker.check()
            self._bucket.take()
            try:
                return self._send(endpoint, what)
            except UnavailableError as error:
                if attempt == _IDEMPOTENT_TRIES - 1:
                    raise
                pause = backoff_seconds(attempt)
                if isinstance(error, RateLimitedError):
                    pause = max(pause, min(error.retry_after_seconds, _LONGEST_RETRY_AFTER))
            time.sleep(pause)
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            for api in self._apis:
                api.close()
            self._apis.clear()
            self._local = threading.local()

    def _api(self) -> API:
        api = cast("API | None", getattr(self._local, "api", None))
        if api is None:
            await_connection(self._environment)
            api = new_api(self._environment, self._token, self._timeout)
            api.client.hooks["response"].append(self._note)
            with self._lock:
                self._apis.append(api)
            self._local.api = api
        return api

    def _note(self, response: requests.Response, *_: Any, **__: Any) -> None:
        """Keep what the library does not hand over: the status and how long to stay away."""
        self._local.status = response.status_code
        self._local.retry_after = response.headers.get("Retry-After", "")

    def _send(self, endpoint: Endpoint, what: str) -> Reply:
        self._local.status, self._local.retry_after = 0, ""
        # Errors are raised outside of the handlers: the library's exceptions quote URLs, and so would a context.
        failure: TidegateError
        try:
            body = self._api().request(endpoint)
        except V20Error as error:
            outcome = refusal(int(error.code), str(error.msg), what, False, self._local.retry_after)
            if isinstance(outcome, Reply):
                self._breaker.succeeded()
                return outcome
            failure = outcome
        except requests.RequestException as error:
            failure = UnavailableError(f"{what}: the broker does not answer ({type(error).__name__}); try again")
        except ValueError:
            failure = unreadable(what, money=False)
        else:
            if isinstance(body, dict) and self._local.status < 300:
                self._breaker.succeeded()
                return Reply(self._local.status, cast(dict[str, Any], body))
            failure = unreadable(what, money=False)
        if isinstance(failure, RateLimitedError | ConfigurationError):
            self._breaker.succeeded()
        else:
            self._breaker.failed()
        raise failure
