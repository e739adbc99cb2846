"""A desk on a paper account, opened as a session opens it: for tests of what the loop calls."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from core.clock import Clock
from core.domain import AccountState, OrderFilled, Quote, default_instrument
from core.domain.order import Fill
from core.journal import Journal
from trading import records
from trading.brokers.interface import Broker
from trading.brokers.paper import PaperBroker
from trading.degradation import Degradation
from trading.desk import Desk
from trading.latency import LatencyRecorder
from trading.metrics import TraderMetrics
from trading.risk.limits import RiskParameters
from trading.state import SessionState

NAMES = ("EUR_USD", "USD_JPY")


@dataclass
class DeskParts:
    """The parts, and every record written."""

    desk: Desk
    broker: PaperBroker
    degradation: Degradation
    metrics: TraderMetrics
    written: list[records.AnyRecord]

    def degraded(self) -> list[records.Degraded]:
        return [record for record in self.written if isinstance(record, records.Degraded)]

    def differences(self) -> list[records.DifferenceFound]:
        return [record for record in self.written if isinstance(record, records.DifferenceFound)]

    def reconciled(self) -> list[tuple[str, int]]:
        return [(record.scope, record.differences) for record in self.written if isinstance(record, records.Reconciled)]

    def quote(self, instrument: str, bid: float, ask: float, time_ns: int) -> None:
        quote = Quote(instrument, time_ns, time_ns, bid, ask, simulated=True)
        self.broker.on_quote(quote)
        self.desk.quotes[instrument] = quote

    def lie(self, units: int, money: str = "0") -> None:
        """Believe in a fill that the broker never made: the only way our books can go wrong by themselves."""
        fill = Fill(0, "ghost", "0", "EUR_USD", Decimal(units), Decimal("1.1"), 0, realised_profit=Decimal(money))
        self.desk.commit(records.BrokerSaid(OrderFilled(0, fill, 0), "stream"))


def paper_broker(clock: Clock) -> PaperBroker:
    return PaperBroker({name: default_instrument(name) for name in NAMES}, clock, start_ns=clock.time_ns())


@contextmanager
def make_desk(folder: Path, clock: Clock, broker: Broker | None = None) -> Generator[DeskParts]:
    """Yield a desk whose session is open; ``broker`` takes the orders instead of the paper account."""
    paper = paper_broker(clock)
    written: list[records.AnyRecord] = []
    metrics = TraderMetrics()
    instruments = {name: default_instrument(name) for name in NAMES}
    with Journal(folder / "journal") as journal:
        desk = Desk(
            broker or paper,
            journal,
            clock,
            SessionState(),
            instruments,
            RiskParameters(),
            "USD",
            LatencyRecorder(),
            metrics,
        )
        desk.observe(lambda record, _: written.append(record))
        account = AccountState(
            currency="USD",
            balance=Decimal(100_000),
            net_asset_value=Decimal(100_000),
            unrealised_profit=Decimal(0),
            margin_used=Decimal(0),
            margin_available=Decimal(100_000),
            last_transaction_id=len(paper.exchange.transactions),
            time_ns=clock.time_ns(),
        )
        desk.commit(
            records.SessionOpened("s", "d", "rules", "paper", "k", NAMES, account, (), resumed=False, simulated=True)
        )
        yield DeskParts(desk, paper, Degradation(desk, clock, metrics), metrics, written)
