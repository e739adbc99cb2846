"""What a practice broker is started with."""

from decimal import Decimal
from enum import StrEnum
from pathlib import Path

import msgspec

from trading.matching.book import AccountConfiguration
from trading.practice.feeds.live import LiveSource


class ClockMode(StrEnum):
    """Who moves the market clock."""

    LOCKSTEP = "lockstep"  # it stands still until POST /admin/clock/advance
    ACCELERATED = "accelerated"  # the feed's own gaps, divided by the speed
    REAL = "real"  # now; simulation and live feeds only


class FeedKind(StrEnum):
    """Where prices come from."""

    FIXINGS = "fixings"
    BARS = "bars"
    SIMULATION = "simulation"
    LIVE = "live"  # the pricing stream of another v20 server


class PracticeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """All choices; the defaults run a simulation in real time on a free loopback port, in memory."""

    token: str
    account_id: str
    feed: FeedKind = FeedKind.SIMULATION
    clock: ClockMode = ClockMode.REAL
    workspace: Path | None = None  # where params.yaml and the catalog are; needed by fixings and bars
    from_ns: int | None = None  # the opening quotes are the last before it; None: the start of the hold-out
    to_ns: int | None = None
    host: str = "127.0.0.1"
    port: int = 0
    ready_file: Path | None = None
    state_directory: Path | None = None  # None: nothing survives the process
    instruments: tuple[str, ...] = ()  # empty: those of params.yaml, or the majors for a simulation
    seed: int | None = None
    balance: Decimal | None = None
    ticks_per_second: float = 5.0  # of the simulation feed in real time
    speed: float = 3600.0  # accelerated: seconds of the market in one of the wall
    steps: int | None = None  # simulation: how many steps there are; None: no end
    requests_per_second: float = 0.0  # 0: no limit; the real broker allows 120
    connections_per_second: float = 0.0  # 0: no limit; the real broker allows 2 new ones
    streams_per_account: int = 0  # 0: no limit; the real broker allows 20
    heartbeat_seconds: float = 5.0
    commission_per_million: Decimal | None = None
    liquidity: Decimal = Decimal(10_000_000)
    hedging: bool = False
    fifo: bool = False
    weekend_halt: bool = False
    maintenance: tuple[tuple[int, int], ...] = ()  # minutes after midnight New York
    financing: bool = False
    financing_rates: dict[str, tuple[Decimal, Decimal]] = {}
    source: LiveSource | None = None  # of the live feed

    def account(self) -> AccountConfiguration:
        """Return the account to open."""
        return AccountConfiguration(
            account_id=self.account_id,
            balance=Decimal(100_000) if self.balance is None else self.balance,
            commission_per_million=self.commission_per_million or Decimal(0),
            liquidity=self.liquidity,
            hedging=self.hedging,
            fifo=self.fifo,
            weekend_halt=self.weekend_halt,
            maintenance=self.maintenance,
            financing=self.financing,
            financing_rates=self.financing_rates,
        )
