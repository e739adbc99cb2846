"""Which hosts the client library talks to, and the guard before real money."""

from urllib.parse import urlsplit

from oandapyV20.oandapyV20 import TRADING_ENVIRONMENTS

from core.errors import ConfigurationError
from core.settings import OandaSettings
from trading.brokers.oanda.pacing import TokenBucket

_CONNECTIONS_PER_SECOND = 2.0  # new ones, by OANDA's best-practice page; beyond it the hosts refuse them
_paces: dict[str, TokenBucket] = {}  # by environment: the limit counts all connections of this machine
_LIVE_HOST_MARK = "fxtrade"  # api-fxtrade.oanda.com and stream-fxtrade.oanda.com hold real accounts


def select_environment(settings: OandaSettings, allow_live: bool) -> str:
    """Return the name under which the library knows the hosts of ``settings``, registering them if need be.

    The library reaches only the hosts of its table ``TRADING_ENVIRONMENTS``; other v20-compatible servers (the
    practice broker) become an entry of their own.

    Raises:
        ConfigurationError: real money without ``allow_live``, or a host that cannot be one.
    """
    if settings.environment == "live" and not allow_live:
        raise ConfigurationError(
            "TIDEGATE_OANDA__ENVIRONMENT is live: start with --i-trade-real-money, or set it to practice"
        )
    defaults = TRADING_ENVIRONMENTS[settings.environment]
    rest = _checked(settings.rest_url, "TIDEGATE_OANDA__REST_URL", settings) or defaults["api"]
    stream = _checked(settings.stream_url, "TIDEGATE_OANDA__STREAM_URL", settings) or defaults["stream"]
    if settings.rest_url and not settings.stream_url:
        raise ConfigurationError("TIDEGATE_OANDA__REST_URL is set without TIDEGATE_OANDA__STREAM_URL: set both")
    own = (rest, stream) == (defaults["api"], defaults["stream"])
    name = settings.environment if own else f"tidegate {rest} {stream}"
    TRADING_ENVIRONMENTS[name] = {"api": rest, "stream": stream}
    rate = settings.connections_per_second or (_CONNECTIONS_PER_SECOND if own else None)
    if rate is not None and name not in _paces:
        _paces[name] = TokenBucket(rate, burst=rate)
    return name


def await_connection(environment: str, urgent: bool = False) -> None:
    """Wait until a new connection to a registered environment may be opened. Blocking.

    Args:
        environment: its name.
        urgent: for orders: does not wait behind others.
    """
    pace = _paces.get(environment)
    if pace is not None:
        pace.take(urgent)


def rest_host(environment: str) -> str:
    """Return the REST address of a registered environment, without a trailing slash."""
    return TRADING_ENVIRONMENTS[environment]["api"]


def stream_host(environment: str) -> str:
    """Return the stream address of a registered environment, without a trailing slash."""
    return TRADING_ENVIRONMENTS[environment]["stream"]


def _checked(url: str | None, variable: str, settings: OandaSettings) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise ConfigurationError(
            f"{variable} is no address of a server: write it like https://host or http://host:port"
        )
    if settings.environment == "live" and parts.scheme != "https":
        raise ConfigurationError(f"{variable} would send a live token unencrypted: use https")
    if settings.environment != "live" and _LIVE_HOST_MARK in parts.hostname:
        raise ConfigurationError(
            f"{variable} names a host of real accounts while TIDEGATE_OANDA__ENVIRONMENT is practice: "
            "unset it, or set the environment to live"
        )
    return url.rstrip("/")
