"""``tidegate trade --broker paper``: real prices over HTTP, an account of its own, killed and gone on with."""

import asyncio
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from paper_session_process import PARAMS
from trading_session import (
    INSTRUMENTS,
    Practice,
    make_config,
    make_feed,
    make_panel,
    practice_settings,
    write_state,
)

from core.domain import BarKind, OrderAccepted, OrderRequest, default_instrument
from core.errors import ConfigurationError, RefusedError
from core.settings import Settings, TradingSettings
from tidegate.paper import paper_account
from trading.brokers.oanda import OandaBroker
from trading.brokers.paper import PaperBroker
from trading.feeds.lockstep import LockstepClock

STEPS = 20
PROGRAM = Path(__file__).with_name("paper_session_process.py")


async def run(folder: Path, practice: Practice, kill_at: int | None = None) -> list[str]:
    """Run the session in a process, killed once the market has come to a step. Returns the words of its summary."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), str(folder), practice.url, stdout=asyncio.subprocess.PIPE
    )
    assert practice.venue is not None and child.stdout is not None
    async with asyncio.timeout(120):
        if kill_at is not None:
            while practice.venue.next_step < kill_at:  # noqa: ASYNC110 (it changes in the server's thread)
                await asyncio.sleep(0.005)
            child.kill()
        said = (await child.stdout.read()).decode()
        code = await child.wait()
    assert code == (0 if kill_at is None else -9), said
    return said.splitlines()[-1].split() if kill_at is None else []


async def test_killed_paper_session_goes_on_with_its_book(tmp_path: Path) -> None:
    panel = make_panel(BarKind.FIXING, STEPS)
    config = make_config(tmp_path, BarKind.FIXING)
    write_state(panel, config.feature_set, config.state_path)
    with Practice(make_feed(panel)) as practice:
        await run(tmp_path, practice, kill_at=9)
        steps, orders, balance = await run(tmp_path, practice)
        assert practice.venue is not None
        assert practice.venue.exchange.last_transaction_id == 2  # nothing but its opening: no order reached the source
    assert int(steps) == STEPS
    instruments = {name: default_instrument(name) for name in INSTRUMENTS}
    account = PaperBroker(instruments, LockstepClock(), folder=config.session_directory / "paper")
    events = await account.transactions_since(0)
    sent = Counter(event.client_order_id for event in events if isinstance(event, OrderAccepted))
    assert set(sent.values()) == {1}
    assert sum(not key.endswith(".stop_loss") for key in sent) == int(orders) > 10
    state = await account.account()
    assert state.balance.quantize(Decimal("0.01")) == Decimal(balance).quantize(Decimal("0.01"))
    assert events[1].amount == PARAMS["risk"]["initial_balance"]  # type: ignore[union-attr]


@pytest.mark.parametrize("what", ["instrument", "currency"])
async def test_what_cannot_be_traded_is_said_before_anything_is_opened(tmp_path: Path, what: str) -> None:
    clock = LockstepClock()
    config = make_config(tmp_path, BarKind.FIXING)
    settings = Settings()
    with Practice(make_feed(make_panel(BarKind.FIXING, 2))) as practice:
        prices = OandaBroker(practice_settings(practice.url), clock)
        await prices.connect()
        if what == "instrument":
            config = make_config(tmp_path, BarKind.FIXING, instruments=(*INSTRUMENTS, "AUD_CHF"))
            expected: tuple[type[Exception], str] = RefusedError, "AUD_CHF"
        else:
            async with paper_account(prices, clock, config, PARAMS, settings) as broker:
                await broker.submit(OrderRequest("first", "EUR_USD", Decimal(1)))
            settings = Settings(trading=TradingSettings(account_currency="EUR"))
            expected = ConfigurationError, "USD.*EUR"
        with pytest.raises(expected[0], match=expected[1]):
            async with paper_account(prices, clock, config, PARAMS, settings):
                raise AssertionError("it was opened")
        assert what == "currency" or not config.session_directory.exists()
        await prices.close()


async def test_bars_missed_in_a_pause_come_from_the_price_source(tmp_path: Path) -> None:
    clock = LockstepClock()
    config = make_config(tmp_path, BarKind.FIXING)
    with Practice(make_feed(make_panel(BarKind.FIXING, 2))) as practice:
        prices = OandaBroker(practice_settings(practice.url), clock)
        await prices.connect()
        async with paper_account(prices, clock, config, PARAMS, Settings()) as broker:
            assert practice.venue is not None
            end = practice.venue.time_ns + 1
            bars = await broker.candles("EUR_USD", 60, end - 3600 * 10**9, end)
            assert bars == await prices.candles("EUR_USD", 60, end - 3600 * 10**9, end)
        await prices.close()
