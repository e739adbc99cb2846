"""The summary of a session that ends."""

from core.digest import digest_value
from trading.config import TraderConfig
from trading.desk import Desk
from trading.latency import LatencyRecorder
from trading.reconciliation.compare import ReconciliationResult
from trading.summary import CostsPaid, SessionSummary, SummaryCollector

JOURNAL = "journal"  # folders and files of a session
LIVE_FEATURES = "live_features.npz"


def summarise(
    config: TraderConfig,
    broker: str,
    desk: Desk,
    collected: SummaryCollector,
    latency: LatencyRecorder,
    ended: str,
    result: ReconciliationResult | None,
    journal_entries: int,
    ledger_complete: bool | None,
) -> SessionSummary:
    """Return what a session did, restarts included.

    Args:
        config: the session.
        broker: its name.
        desk: with the state at the end.
        collected: of every record.
        latency: of this process.
        ended: why it ended.
        result: of the last comparison; None where the broker did not answer.
        journal_entries: how many there are.
        ledger_complete: whether the ledger holds them all; None without a ledger.
    """
    state = desk.state
    rates = desk.rates()
    unrealised = desk.unrealised(rates)
    return SessionSummary(
        session_id=config.session_id,
        strategy=config.strategy,
        broker=broker,
        simulated=collected.simulated,
        ended=ended,
        starts=collected.starts,
        account_currency=config.account_currency,
        first_step_ns=collected.steps[0] if collected.steps else 0,
        last_step_ns=collected.steps[-1] if collected.steps else 0,
        steps=len(collected.steps),
        steps_missed=collected.steps_missed,
        decisions=len(collected.decisions),
        predictions=dict(sorted(collected.predictions.items())),
        model_digests=sorted(collected.model_digests),
        orders=len(collected.orders),
        cancels=collected.cancels,
        amendments=collected.amendments,
        fills=collected.fills,
        stops_filled=collected.stops_filled,
        orders_not_sent=collected.not_sent,
        rejects=dict(sorted(collected.rejects.items())),
        costs=CostsPaid(
            spread=float(collected.spread),
            commission=float(collected.commission),
            financing=float(collected.financing),
            slippage=round(collected.slippage, 4),
        ),
        start_balance=float(state.start_balance),
        balance=float(state.balance),
        equity=round(float(state.balance) + unrealised, 4),
        profit_realised=float(state.balance - state.start_balance),
        profit_unrealised=round(unrealised, 4),
        maximum_drawdown=collected.maximum_drawdown(),
        hit_rate=collected.hit_rate(),
        trades=collected.trades,
        equity_curve=collected.equity_curve,
        latencies=latency.summary(),
        reconciliation=result,
        degraded=dict(sorted(collected.degraded.items())),
        differences=collected.differences,
        risk_state=state.risk_state.value,
        live_features_path=str(config.session_directory / LIVE_FEATURES),
        journal_path=str(config.session_directory / JOURNAL),
        journal_entries=journal_entries,
        ledger_complete=ledger_complete,
        order_digest=digest_value(collected.orders),
    )
