"""Where requests that can move money go: the broker's host or a proxy before it, and how a request to it is written."""

import http.client
import os
import re
import ssl
from urllib.parse import SplitResult, unquote, urlsplit

from requests.certs import where as trusted_authorities
from requests.utils import get_environ_proxies
from urllib3.util import make_headers

from core.errors import BadInputError, ConfigurationError
from trading.brokers.oanda.pacing import CONNECT_TIMEOUT_SECONDS

_UNSAFE = re.compile(r"[^\x21-\x7e]")  # in a request target: it would end the line


class Destination:
    """One host, as the environment lets it be reached.

    Args:
        address: of the broker, with its scheme and the prefix of its paths.
        token: bearer token.

    Raises:
        ConfigurationError: the environment sets a proxy of a kind that orders cannot go through.
    """

    def __init__(self, address: str, token: str) -> None:
        self._host = urlsplit(address)
        proxies = get_environ_proxies(address)
        self._proxy = urlsplit(proxies[self._host.scheme]) if self._host.scheme in proxies else None
        if self._proxy is not None and self._proxy.scheme not in ("http", ""):
            raise ConfigurationError(
                f"the environment sets a {self._proxy.scheme} proxy for {self._host.scheme}: orders go through http "
                "proxies only; exempt the broker's host with NO_PROXY"
            )
        self._headers = self._make_headers(token)

    def __repr__(self) -> str:
        return "Destination()"

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection that is not made yet."""
        target = self._proxy or self._host
        secure = self._host.scheme == "https"
        port = target.port or (443 if secure and self._proxy is None else 80)
        host = target.hostname or ""
        if not secure:
            return http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_SECONDS)
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or trusted_authorities()
        context = ssl.create_default_context(cafile=bundle)
        connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT_SECONDS, context=context)
        if self._proxy is not None:
            connection.set_tunnel(self._host.hostname or "", self._host.port or 443, _credentials(self._proxy))
        return connection

    def request(self, method: str, path: str, body: bytes | None) -> bytes:
        """Return the bytes of a request, head and body.

        Raises:
            BadInputError: its path cannot be written into a request.
        """
        target = self._target(path)
        if _UNSAFE.search(target):
            raise BadInputError(f"{target!r} cannot be the path of a request: nothing was sent")
        length = b"" if body is None and method == "GET" else b"Content-Length: %d\r\n" % len(body or b"")
        head = f"{method} {target} HTTP/1.1\r\n".encode("ascii")
        return b"".join((head, self._headers, length, b"\r\n", body or b""))

    def _target(self, path: str) -> str:
        """Return the request target: the path, or the whole address for a proxy that reads it."""
        prefix = self._host.path.rstrip("/")
        if self._proxy is not None and self._host.scheme == "http":
            return f"http://{self._host.netloc}{prefix}/{path}"
        return f"{prefix}/{path}"

    def _make_headers(self, token: str) -> bytes:
        """Return what stands in the head of every request, behind its first line."""
        host, port = self._host.hostname or "", self._host.port
        if port is not None and port != (443 if self._host.scheme == "https" else 80):
            host = f"{host}:{port}"
        headers = {
            "Host": host,
            "Accept-Encoding": "identity",
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept-Datetime-Format": "RFC3339",
        }
        if self._proxy is not None and self._host.scheme == "http":
            headers |= _credentials(self._proxy)
        return "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii")


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    return make_headers(proxy_basic_auth=f"{unquote(proxy.username)}:{unquote(proxy.password or '')}")
