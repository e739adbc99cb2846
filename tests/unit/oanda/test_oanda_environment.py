"""The guard before real money, and hosts from settings."""

import pytest
from oandapyV20 import API
from oandapyV20.oandapyV20 import TRADING_ENVIRONMENTS

from core.clock import LiveClock
from core.errors import ConfigurationError
from core.settings import OandaSettings
from trading.brokers.oanda import OandaBroker, environment
from trading.brokers.oanda.environment import rest_host, select_environment, stream_host
from trading.brokers.oanda.pacing import TokenBucket


def test_practice_is_the_default() -> None:
    assert select_environment(OandaSettings(), allow_live=False) == "practice"
    assert rest_host("practice") == "https://api-fxpractice.oanda.com"


def test_live_needs_both_keys() -> None:
    live = OandaSettings(environment="live")
    with pytest.raises(ConfigurationError, match="i-trade-real-money"):
        select_environment(live, allow_live=False)
    assert select_environment(live, allow_live=True) == "live"
    assert select_environment(OandaSettings(), allow_live=True) == "practice"


@pytest.mark.parametrize("host", ["https://api-fxtrade.oanda.com", "https://API-FXTRADE.oanda.com"])
def test_live_host_under_the_practice_name_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="real accounts"):
        select_environment(OandaSettings(rest_url=host, stream_url="https://a.example"), allow_live=True)


@pytest.mark.parametrize(
    ("rest", "stream"),
    [
        ("ftp://host", "http://host"),
        ("host:80", "http://host"),
        ("http://", "http://host"),
        ("http://user:secret@host", "http://host"),
        ("http://host?x=1", "http://host"),
        ("http://host", None),
    ],
)
def test_unusable_hosts(rest: str, stream: str | None) -> None:
    with pytest.raises(ConfigurationError) as caught:
        select_environment(OandaSettings(rest_url=rest, stream_url=stream), allow_live=False)
    assert "secret" not in caught.value.message


def test_live_token_is_never_sent_unencrypted() -> None:
    settings = OandaSettings(environment="live", rest_url="http://gateway", stream_url="http://gateway")
    with pytest.raises(ConfigurationError, match="https"):
        select_environment(settings, allow_live=True)


def test_other_hosts_become_an_environment_of_the_library() -> None:
    before = {name: dict(hosts) for name, hosts in TRADING_ENVIRONMENTS.items() if name in ("practice", "live")}
    settings = OandaSettings(rest_url="http://127.0.0.1:1/", stream_url="http://127.0.0.1:2")
    name = select_environment(settings, allow_live=False)
    assert (rest_host(name), stream_host(name)) == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert API(access_token="x", environment=name).environment == name
    assert {name: TRADING_ENVIRONMENTS[name] for name in before} == before


@pytest.mark.parametrize("field", ["token", "account_id"])
def test_missing_credentials_are_named(field: str) -> None:
    values = {"token": "t", "account_id": "a"}
    del values[field]
    with pytest.raises(ConfigurationError, match=f"TIDEGATE_OANDA__{field.upper()}"):
        OandaBroker(OandaSettings(**values), LiveClock())  # type: ignore[arg-type]


def test_new_connections_are_paced_at_the_brokers_own_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    now = 0.0

    def bucket(rate: float, burst: float) -> TokenBucket:
        return TokenBucket(rate, burst, now=lambda: now, sleep=waits.append)

    monkeypatch.setattr(environment, "TokenBucket", bucket)
    monkeypatch.setattr(environment, "_paces", {})
    own = select_environment(OandaSettings(), allow_live=False)
    for _ in range(4):
        environment.await_connection(own)
    assert waits == [0.5, 1.0]  # two at once, then one every half second
    assert select_environment(OandaSettings(), allow_live=False) == own
    environment.await_connection(own, urgent=True)  # a second adapter counts on; an order does not stand in the queue
    assert waits == [0.5, 1.0, 0.5]
    host = {"rest_url": "http://127.0.0.1:1", "stream_url": "http://127.0.0.1:2"}
    other = select_environment(OandaSettings(**host), allow_live=False)
    for _ in range(9):
        environment.await_connection(other)
    assert len(waits) == 3
    environment.await_connection(select_environment(OandaSettings(**host, connections_per_second=1.0), False))
    environment.await_connection(other)
    assert waits[3:] == [1.0]
