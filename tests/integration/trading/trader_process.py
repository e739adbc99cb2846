"""A trader in a process of its own, for tests that kill it: folder, URL, market kind, database URL or ``-``."""

import asyncio
import sys
from pathlib import Path

from trading_session import MomentumPredictor, make_config, trade_on_practice

from core.domain import BarKind


def main() -> None:
    folder, url, kind, database = sys.argv[1:5]
    config = make_config(Path(folder), BarKind(kind))
    summary = asyncio.run(
        trade_on_practice(
            config,
            url,
            MomentumPredictor(config.feature_set),
            None if database == "-" else database,
            handle_signals=True,
        )
    )
    assert summary.reconciliation is not None
    assert summary.reconciliation.reconciled, summary.reconciliation.differences


if __name__ == "__main__":
    main()
