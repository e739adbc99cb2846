"""The commands. A module imports what its command needs inside the function: `tidegate --help` pays for none of it."""

from collections.abc import Callable

import typer

from tidegate.commands import (
    backtest,
    batch,
    control,
    demonstration,
    drill,
    execution,
    gate,
    ledger,
    measuring,
    promotion,
    release,
    replay,
    rollback,
    search,
    services,
    trading,
    traffic,
    trials,
    users,
)

REGISTER: tuple[Callable[[typer.Typer], None], ...] = (
    demonstration.register,
    services.register,
    batch.register,
    release.register,
    promotion.register,
    rollback.register,
    traffic.register,
    trading.register,
    measuring.register,
    control.register,
    drill.register,
    execution.register,
    gate.register,
    ledger.register,
    replay.register,
    search.register,
    trials.register,
    users.register,
    backtest.register,
)
