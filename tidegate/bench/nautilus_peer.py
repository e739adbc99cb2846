"""The peer of ``tidegate bench replay``: run by the Python of its own environment; imports nothing of ours.

Arguments: file of ticks, fast and slow period, units, bar seconds. The last line of stdout is one JSON object.
"""

import json
import sys
import time
from decimal import Decimal

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import DataEngineConfig, LoggingConfig, RiskEngineConfig
from nautilus_trader.examples.strategies.ema_cross import EMACross, EMACrossConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import BarType
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money
from nautilus_trader.persistence.wranglers import QuoteTickDataWrangler
from nautilus_trader.test_kit.providers import TestInstrumentProvider


def main() -> None:
    import pandas as pd

    file, fast, slow, units, seconds = sys.argv[1], *map(int, sys.argv[2:6])
    with np.load(file) as archive:
        frame = pd.DataFrame(
            {"bid_price": archive["bid"], "ask_price": archive["ask"]},
            index=pd.DatetimeIndex(pd.to_datetime(archive["time_ns"], utc=True), name="timestamp"),
        )
    engine = BacktestEngine(
        config=BacktestEngineConfig(
            trader_id="BENCH-001",
            logging=LoggingConfig(bypass_logging=True),
            risk_engine=RiskEngineConfig(),
            data_engine=DataEngineConfig(
                time_bars_build_with_no_updates=False,
                time_bars_interval_type="right-open",
                validate_data_sequence=False,
            ),
        )
    )
    venue = Venue("SIM")
    engine.add_venue(
        venue=venue,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        base_currency=USD,
        starting_balances=[Money(1_000_000, USD)],
    )
    instrument = TestInstrumentProvider.default_fx_ccy("EUR/USD", venue)
    engine.add_instrument(instrument)
    engine.add_data(QuoteTickDataWrangler(instrument).process(frame))
    bar_type = BarType.from_str(f"EUR/USD.SIM-{seconds // 60}-MINUTE-BID-INTERNAL")
    engine.add_strategy(
        EMACross(
            config=EMACrossConfig(
                instrument_id=instrument.id,
                bar_type=bar_type,
                trade_size=Decimal(units),
                fast_ema_period=fast,
                slow_ema_period=slow,
                request_bars=False,
                unsubscribe_data_on_stop=False,
                close_positions_on_stop=False,
            )
        )
    )
    began, cpu = time.perf_counter(), time.process_time()
    engine.run()
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    # A reversal is two orders (close, open); the one that ends on a side is the position taken.
    trades: list[tuple[int, int]] = []
    held = 0
    length = seconds * 1_000_000_000
    for order in sorted(engine.cache.orders(), key=lambda item: item.ts_init):
        change = int(float(order.filled_qty)) * (1 if order.is_buy else -1)
        held += change
        if held:
            boundary = -(-int(order.ts_init) // length) * length
            trades.append((boundary, 1 if held > 0 else -1))
    sys.stdout.write("\n" + json.dumps({"seconds": elapsed, "cpu_seconds": cpu, "trades": trades}) + "\n")


if __name__ == "__main__":
    main()
