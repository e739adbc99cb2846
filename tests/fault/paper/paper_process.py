"""A process that trades on a paper account and is killed: ``paper_process.py FOLDER SEED COUNT``.

It acts as a trader does after a restart: the feed begins again at its start, and an order is sent only if the account
has no trace of its client id. After every step it prints what it has been answered.
"""

import asyncio
import random
import sys
import zlib
from decimal import Decimal
from pathlib import Path

import msgspec

from core.clock import SimulatedClock, from_rfc3339
from core.domain import Heartbeat, OrderRequest, OrderType, Quote, TimeInForce, default_instrument
from trading.brokers.paper import PaperBroker

START_NS = from_rfc3339("2024-03-05T10:00:00Z")
STEP_NS = 1_000_000_000
INSTRUMENTS = {name: default_instrument(name) for name in ("EUR_USD", "USD_JPY")}


def digest(broker: PaperBroker, count: int) -> int:
    """Sum up the account's first ``count`` transactions."""
    return zlib.crc32(msgspec.json.encode(broker.exchange.transactions[:count]))


def quotes_of(step: int, seed: int) -> list[Quote]:
    draw = random.Random(f"{seed} {step}")
    now = START_NS + step * STEP_NS
    euro, yen = 1.1 + draw.randint(-300, 300) / 1e5, 150 + draw.randint(-300, 300) / 1e3
    return [
        Quote("EUR_USD", now, now, round(euro, 5), round(euro + 0.0001, 5), simulated=True),
        Quote("USD_JPY", now + 1, now + 1, round(yen, 3), round(yen + 0.01, 3), simulated=True),
    ]


async def act(broker: PaperBroker, step: int, seed: int) -> None:
    draw = random.Random(f"{seed} {step} order")
    key = f"step-{step}"
    units = Decimal(draw.choice([-1500, -700, 700, 1500]))
    choice = draw.randint(0, 5)
    if await broker.resolve(key):
        return
    if choice < 2:
        bracket = {"stop_loss_price": Decimal("1.0900"), "take_profit_price": Decimal("1.1100")} if units > 0 else {}
        await broker.submit(OrderRequest(key, "EUR_USD", units, **bracket))  # type: ignore[arg-type]
    elif choice < 4:
        price = Decimal("1.0985") if units > 0 else Decimal("1.1015")
        await broker.submit(OrderRequest(key, "EUR_USD", units, OrderType.LIMIT, TimeInForce.GTC, price=price))
    elif choice == 4:
        await broker.submit(OrderRequest(key, "USD_JPY", units))
    else:
        for order in (await broker.open_orders())[:1]:
            await broker.cancel(order.client_order_id)


async def main(folder: Path, seed: int, count: int) -> None:
    clock = SimulatedClock(START_NS)
    broker = PaperBroker(INSTRUMENTS, clock, folder=folder, start_ns=START_NS)
    done = (broker.exchange.book.time_ns - START_NS) // STEP_NS
    for step in range(1, count + 1):
        for quote in quotes_of(step, seed):
            broker.on_quote(quote)
        clock.advance_to(START_NS + step * STEP_NS + 2)
        if step >= done:
            await act(broker, step, seed)
            broker.on_heartbeat(Heartbeat(clock.time_ns(), clock.time_ns()))
        last = broker.exchange.last_transaction_id
        print(step, last, digest(broker, last), flush=True)
    await broker.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
