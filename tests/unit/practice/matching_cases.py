"""Building blocks of the matching tests: an exchange with three pairs and short words for what happens on it."""

from decimal import Decimal
from typing import Any, TypeVar

from core.clock import from_rfc3339
from core.domain import Quote, default_instrument
from trading.matching.book import AccountConfiguration
from trading.matching.commands import AnyCommand, OrderSpecification, Submit
from trading.matching.exchange import Exchange
from trading.matching.transactions import AnyTransaction, ClientExtensions, OnFillDetails, Transaction

START = from_rfc3339("2024-03-05T10:00:00Z")  # a Tuesday
SECOND = 1_000_000_000
PAIRS = ("EUR_JPY", "EUR_USD", "USD_JPY")
Kind = TypeVar("Kind", bound=Transaction)


class Desk:
    """An exchange at the standing quotes EUR_USD 1.10000/1.10020, USD_JPY 150.000/150.020, EUR_JPY 165.000/165.030."""

    def __init__(self, **configuration: Any) -> None:
        instruments = {name: default_instrument(name) for name in PAIRS}
        self.exchange = Exchange(instruments, AccountConfiguration(**configuration), START)
        self.now = START
        self.quote("EUR_USD", "1.10000", "1.10020")
        self.quote("USD_JPY", "150.000", "150.020")
        self.quote("EUR_JPY", "165.000", "165.030")

    def quote(self, name: str, bid: str, ask: str, tradeable: bool = True, seconds: int = 1) -> list[AnyTransaction]:
        self.now += seconds * SECOND
        return self.exchange.on_quote(Quote(name, self.now, self.now, float(bid), float(ask), tradeable))

    def apply(self, command: AnyCommand) -> list[AnyTransaction]:
        return self.exchange.apply(command)

    def order(self, units: int | str, name: str = "EUR_USD", **fields: Any) -> list[AnyTransaction]:
        spec = OrderSpecification(instrument=name, units=Decimal(units), **fields)
        return self.exchange.apply(Submit(time_ns=self.now, order=spec))

    def units(self, name: str = "EUR_USD") -> Decimal:
        return sum((t.units for t in self.exchange.log.open_trades.get(name, {}).values()), Decimal(0))

    @property
    def balance(self) -> Decimal:
        return self.exchange.book.balance


def only(transactions: list[AnyTransaction], kind: type[Kind]) -> Kind:
    """Return the one transaction of a kind."""
    (found,) = [item for item in transactions if isinstance(item, kind)]
    return found


def kinds(transactions: list[AnyTransaction]) -> list[str]:
    return [item.kind for item in transactions]


def price(value: str, **fields: Any) -> OnFillDetails:
    return OnFillDetails(price=Decimal(value), **fields)


def named(name: str) -> ClientExtensions:
    return ClientExtensions(id=name)
