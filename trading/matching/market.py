"""Standing quotes and what they say about conversion into the account's currency.

A gain in the quote currency is sold for the home currency, a loss is bought: OANDA's ``quoteHomeConversionFactors`` in
the recordings are 1/ask and 1/bid of EUR_USD for a EUR account, which is that rule. A currency without a pair of its
own against home is converted over the shortest chain of quoted pairs (ties: alphabetical).

Simplification: no conversion mark-up (OANDA adds 0.5 % in some divisions since 2020).
"""

from collections import deque
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal

from core.domain import Instrument, Quote
from trading.matching.book import Book
from trading.matching.hours import TradingHours
from trading.matching.wire import ZERO, plain

ONE = Decimal(1)
_FACTOR = Decimal("0.000000000001")  # fills report factors with up to twelve decimals


class Market:
    """The quotes of one exchange, as ``Decimal`` when somebody needs them so."""

    def __init__(self, instruments: Mapping[str, Instrument], book: Book) -> None:
        self.instruments = instruments
        self.home = book.configuration.currency
        self.quotes = book.quotes
        self.halted = book.halted
        self.hours = TradingHours(book.configuration, instruments)
        self.limited = self.hours.limited
        self._book = book
        self._prices: dict[str, tuple[Decimal, Decimal]] = {}
        self._factors: dict[str, tuple[Decimal, Decimal] | None] = {self.home: (ONE, ONE)}
        self._paths: dict[str, list[tuple[str, bool]] | None] = {}
        self._users: dict[str, list[str]] = {}  # by instrument: the currencies whose chain goes over it

    def update(self, quote: Quote) -> None:
        """Take a new standing quote."""
        name = quote.instrument
        if name not in self.quotes:
            self._paths.clear()
            self._users.clear()
            self._factors = {self.home: (ONE, ONE)}
        self.quotes[name] = quote
        if self._prices:
            self._prices.pop(name, None)
        if len(self._factors) > 1:  # that of home never changes
            for currency in self._users.get(name, ()):
                self._factors.pop(currency, None)
        if self._book.liquidity_taken:
            self._book.liquidity_taken.pop(name, None)

    def liquidity(self, name: str, buying: bool) -> Decimal:
        """Return how much can still be bought (or sold) on the standing quote."""
        taken = self._book.liquidity_taken.get(name, (ZERO, ZERO))
        return max(ZERO, self.quoted_liquidity - taken[0 if buying else 1])

    @property
    def quoted_liquidity(self) -> Decimal:
        """The size each side of a new quote is good for."""
        book = self._book
        return book.configuration.liquidity if book.liquidity is None else book.liquidity

    def take_liquidity(self, name: str, units: Decimal) -> None:
        """Use up what was bought (or sold, negative) on the standing quote."""
        bought, sold = self._book.liquidity_taken.get(name, (ZERO, ZERO))
        self._book.liquidity_taken[name] = (bought + units, sold) if units > 0 else (bought, sold - units)

    def price(self, name: str) -> tuple[Decimal, Decimal]:
        """Return bid and ask in the instrument's precision. The instrument must have a quote."""
        cached = self._prices.get(name)
        if cached is None:
            quote = self.quotes[name]
            instrument = self.instruments[name]
            cached = (instrument.round_price(quote.bid), instrument.round_price(quote.ask))
            self._prices[name] = cached
        return cached

    def middle(self, name: str) -> Decimal:
        """Return the exact middle of bid and ask."""
        bid, ask = self.price(name)
        return (bid + ask) / 2

    def tradeable(self, name: str) -> bool:
        """Return whether orders in this instrument can be executed now."""
        quote = self.quotes.get(name)
        if quote is None or not quote.tradeable or name in self.halted:
            return False
        return not self.limited or self.hours.is_open(name, self._book.time_ns)

    def factors(self, currency: str) -> tuple[Decimal, Decimal] | None:
        """Return what one unit of ``currency`` gained, and lost, is worth at home; None without a chain of quotes."""
        if currency not in self._factors:
            self._factors[currency] = self._compute(currency)
        return self._factors[currency]

    def middle_factor(self, currency: str) -> Decimal:
        """Return the mean of the two factors, for values that are neither gain nor loss (margin, half spread)."""
        factors = self.factors(currency)
        return ZERO if factors is None else (factors[0] + factors[1]) / 2

    def to_home(self, amount: Decimal, currency: str) -> Decimal:
        """Convert a profit (positive) or loss (negative)."""
        factors = self.factors(currency)
        if factors is None:
            return ZERO
        return amount * (factors[0] if amount > 0 else factors[1])

    def _compute(self, currency: str) -> tuple[Decimal, Decimal] | None:
        path = self.path(currency)
        if path is None:
            return None
        gain = loss = ONE
        for name, selling in path:
            bid, ask = self.price(name)
            gain, loss = (gain * bid, loss * ask) if selling else (gain / ask, loss / bid)
        return (
            plain(gain.quantize(_FACTOR, rounding=ROUND_HALF_EVEN)),
            plain(loss.quantize(_FACTOR, rounding=ROUND_HALF_EVEN)),
        )

    def path(self, currency: str) -> list[tuple[str, bool]] | None:
        """Return the chain home: (pair, whether the currency held is its base); empty at home, None without one."""
        if currency == self.home:
            return []
        if currency not in self._paths:
            path = self._paths[currency] = self._path(currency)
            for name, _ in path or ():
                self._users.setdefault(name, []).append(currency)
        return self._paths[currency]

    def _path(self, currency: str) -> list[tuple[str, bool]] | None:
        """Find the shortest chain to home: (pair, whether the currency held is the pair's base)."""
        names = sorted(self.quotes)
        queue: deque[tuple[str, list[tuple[str, bool]]]] = deque([(currency, [])])
        seen = {currency}
        while queue:
            held, path = queue.popleft()
            for name in names:
                base, _, quoted = name.partition("_")
                if held not in (base, quoted):
                    continue
                other = quoted if held == base else base
                if other == self.home:
                    return [*path, (name, held == base)]
                if other not in seen:
                    seen.add(other)
                    queue.append((other, [*path, (name, held == base)]))
        return None
