"""The summary a person reads in the terminal when the demo has ended."""

import sys

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from monitoring.report.summary import RunSummary


def _number(value: float | None, pattern: str, scale: float = 1.0) -> str:
    return "–" if value is None else pattern % (scale * value)


def _skill(summary: RunSummary) -> Table:
    table = Table(title="Out of sample, walk-forward before the traded window", title_justify="left", box=None)
    for name, right in (("model", False), ("log loss", True), ("skill, 95 % interval", True), ("hit rate", True),
                        ("net a year", True), ("Sharpe, 95 % interval", True), ("", False)):  # fmt: skip
        table.add_column(name, justify="right" if right else "left")
    for row in summary.models:
        low, high = _number(row.skill_low, "%+.3f", 100), _number(row.skill_high, "%+.3f", 100)
        skill = f"{_number(row.skill, '%+.3f', 100)} % [{low}, {high}]"
        sharpe = (
            f"{_number(row.sharpe, '%+.2f')} [{_number(row.sharpe_low, '%+.2f')}, {_number(row.sharpe_high, '%+.2f')}]"
        )
        table.add_row(
            row.name,
            _number(row.log_loss, "%.5f"),
            "–" if row.skill is None else skill,
            _number(row.hit_rate, "%.1f %%", 100),
            _number(row.net_return_per_year, "%+.2f %%", 100),
            "–" if row.sharpe is None else sharpe,
            Text("baseline" if row.baseline else row.note, style="dim"),
        )
    return table


def _trading(summary: RunSummary) -> Table:
    trade, table = summary.trading, Table(box=None, show_header=False, title="Unseen data", title_justify="left")
    table.add_column(style="dim")
    table.add_column()
    answered = ", ".join(f"{count:,} by {who}" for who, count in trade.answered_by.items())
    costs = ", ".join(f"{name} {value:,.2f}" for name, value in trade.costs.items())
    refused = sum(trade.rejects.values())
    between = "prices between fixings" if summary.parity["kind"] == "fixing" else "paths inside bars"
    table.add_row("window", f"{trade.first_decision} to {trade.last_decision}, {between} simulated")
    table.add_row("decisions", f"{trade.decisions:,} (predictions: {answered})")
    table.add_row(
        "orders, fills", f"{trade.orders:,} orders, {trade.fills:,} fills, {trade.stops_hit} stops, {refused} refused"
    )
    style = "green" if trade.profit >= 0 else "red"
    table.add_row("profit", Text(f"{trade.profit:+,.2f} {trade.currency} ({trade.profit / trade.initial_balance:+.2%}) "
                                 "after costs", style=style))  # fmt: skip
    table.add_row("costs paid", f"{sum(trade.costs.values()):,.2f} {trade.currency} ({costs})")
    if trade.orders:
        hits = _number(trade.hit_rate, "%.1f %%", 100)
        words = f"{hits} of {trade.closed:,} round trips; largest drawdown {trade.maximum_drawdown:.1%}"
        table.add_row("hit rate", words)
    else:
        table.add_row("", "no decision promised more than it costs to trade: the strategy stayed flat")
    equal = all(row.equal for row in summary.reconciliation)
    words = f"{len(summary.reconciliation)} of {len(summary.reconciliation)} items equal, to the unit and to the cent"
    if not equal:
        words = "DIFFERENT: " + "; ".join(
            f"{row.item}: ours {row.ours}, broker {row.broker}" for row in summary.reconciliation if not row.equal
        )
    table.add_row("reconciled", Text(words, style="green" if equal else "bold red"))
    table.add_row("features", Text(summary.parity["words"], style="green" if summary.parity["equal"] else "bold red"))
    table.add_row("replayed", Text(summary.replay["words"], style="green" if summary.replay["equal"] else "bold red"))
    table.add_row("drift", summary.drift["words"])
    return table


def _latency(summary: RunSummary) -> Table:
    table = Table(title="Latency, milliseconds", title_justify="left", box=None)
    for name in ("hop", "samples", "p50", "p90", "p99"):
        table.add_column(name, justify="left" if name == "hop" else "right")
    for row in summary.latencies:
        table.add_row(row.hop, f"{row.samples:,}", f"{row.p50:.3f}", f"{row.p90:.3f}", f"{row.p99:.3f}")
    return table


def print_summary(summary: RunSummary) -> None:
    """Print the summary to stderr, where progress went; stdout stays for machines."""
    console = Console(file=sys.stderr, highlight=False, width=None if sys.stderr.isatty() else 132)
    passed = bool(summary.verdict["passed"])
    console.print()
    console.print(
        Panel(
            Text(
                ("The gate let the model through. " if passed else "The gate did not find enough evidence. ")
                + summary.let_through
            ),
            title=f"Tidegate {summary.market}: {summary.registered['name']} version {summary.registered['version']}",
            title_align="left",
            border_style="green" if passed else "yellow",
        )
    )
    for table in (_skill(summary), _trading(summary), _latency(summary)):
        console.print(table)
        console.print()
    console.print(
        f"{summary.seconds:.0f} s in all, {summary.memory_peak_mb:,.0f} MB at most (proportional set size); "
        f"model {summary.digests['model'][:12]}, orders {summary.digests['orders'][:12]}, "
        f"fills {summary.digests['fills'][:12]}: the same in every run of this code on this data"
    )
    for name, path in summary.reports.items():
        console.print(f"  {name:<12} {path}", soft_wrap=True)
    for line in summary.next_steps:
        console.print(f"→ {line}", soft_wrap=True)
