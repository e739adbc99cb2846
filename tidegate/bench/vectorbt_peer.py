"""The peer of ``tidegate bench backtest``: run by the Python of its own environment; imports nothing of ours.

Arguments: file of closes and parameter sets, fee as a fraction, units, repeats. The last line of stdout is one JSON
object.
"""

import json
import sys
import time

import numpy as np
import pandas as pd
import vectorbt as vbt


def main() -> None:
    file, fee, units, repeats = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    with np.load(file) as archive:
        close = pd.Series(archive["close"], index=pd.DatetimeIndex(pd.to_datetime(archive["time_ns"], utc=True)))
        sets = archive["sets"].astype(int)
    fast, slow = sets[:, 0].tolist(), sets[:, 1].tolist()

    def run() -> tuple[float, float, float, int]:
        began, cpu = time.perf_counter(), time.process_time()
        quick = vbt.MA.run(close, window=fast, ewm=True)
        late = vbt.MA.run(close, window=slow, ewm=True)
        entries, exits = quick.ma_crossed_above(late), quick.ma_crossed_below(late)
        signals = time.process_time() - cpu
        portfolio = vbt.Portfolio.from_signals(
            close,
            entries=entries.values,
            short_entries=exits.values,
            size=units,
            init_cash=1e6,
            fees=fee,
            freq="1h",
        )
        returns = np.asarray(portfolio.total_return())
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
        if returns.shape != (len(fast),):
            raise SystemExit(f"{returns.shape} returns of {len(fast)} sets")
        return seconds, used, signals, int(portfolio.orders.count().sum())

    run()  # it compiles
    runs = [run() for _ in range(repeats)]
    seconds, cpu, signals, orders = (list(column) for column in zip(*runs, strict=True))
    answer = {"seconds": seconds, "cpu_seconds": cpu, "signal_cpu_seconds": signals, "orders": orders[0]}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
