"""The independent checker: what the broker says over plain HTTP against what the ledger says in plain SQL.

It uses neither our adapter nor our order book: transactions are read as JSON, tables with ``SELECT``, journal entries
as MessagePack maps. Only the framing of a journal entry (length, checksum) is the journal's own code.
"""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from core.clock import from_rfc3339
from tidegate.drill.sources import BrokerPages, JournalFacts, LedgerRows

CENT = Decimal("0.01")
ENTRY_TYPES = ("MARKET_ORDER", "LIMIT_ORDER", "STOP_ORDER", "MARKET_IF_TOUCHED_ORDER")
_OPEN_FATES = ("unknown", "pending_new", "pending_cancel")


@dataclass
class Verdict:
    """What was compared and what was found wrong; nothing wrong: ``problems`` is empty."""

    orders: int = 0
    fills: int = 0
    transactions: int = 0
    problems: list[str] = field(default_factory=list)

    def expect(self, holds: bool, words: str) -> None:
        """Note a problem unless ``holds``."""
        if not holds:
            self.problems.append(words)


def check_session(broker: BrokerPages, ledger: LedgerRows, facts: JournalFacts) -> Verdict:
    """Compare a finished session with its broker, to the unit, to the cent, order by order and fill by fill."""
    verdict = Verdict()
    transactions = broker.transactions()
    verdict.transactions = len(transactions)
    check_orders(verdict, transactions, facts)
    _check_decisions(verdict, transactions, facts)
    _check_ledger_orders(verdict, transactions, broker, ledger)
    _check_fills(verdict, transactions, ledger)
    _check_positions(verdict, broker, ledger)
    _check_balance(verdict, transactions, broker, ledger)
    for row in ledger.rows("ledger_incidents"):
        if row["kind"] == "difference" and row["reason"] in ("position", "balance", "transaction"):
            verdict.problems.append(f"a {row['reason']} difference was recorded: {row['subject']}: {row['words']}")
    for row in ledger.rows("ledger_risk_events"):
        if row["kind"] == "risk_state" and row["reason"] in ("ILLEGAL_TRANSITION", "RECONCILIATION"):
            verdict.problems.append(f"the trader halted itself: {row['reason']}: {row['words']}")
    return verdict


def client_orders(transactions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The orders a client sent: none that the broker made on its own (attached stops, close-outs)."""
    own = ("CLIENT_ORDER", "REPLACEMENT", "POSITION_CLOSEOUT", "TRADE_CLOSE")
    return [item for item in transactions if item["type"] in ENTRY_TYPES and item.get("reason", "") in own]


def check_orders(verdict: Verdict, transactions: list[dict[str, Any]], facts: JournalFacts) -> None:
    """Every order at the broker has its own id and was durable in the journal first; also true right after a kill."""
    orders = client_orders(transactions)
    verdict.orders = len(orders)
    names = [order.get("clientExtensions", {}).get("id", "") for order in orders]
    for name, count in Counter(names).items():
        verdict.expect(bool(name), f"{count} orders at the broker carry no client id")
        verdict.expect(count == 1 or not name, f"order {name} is {count} times at the broker: sent twice")
    for order, name in zip(orders, names, strict=True):
        if not name:
            continue
        written = facts.submitted.get(name)
        if written is None:
            verdict.problems.append(f"order {name} is at the broker and not in the journal: sent before it was written")
            continue
        verdict.expect(written.durable, f"order {name} was written without waiting for the disk")
        said = facts.first_said.get(name)
        verdict.expect(
            said is None or written.sequence < said,
            f"order {name} was journalled as entry {written.sequence}, after the broker's answer in entry {said}",
        )
        late = written.time_ns - from_rfc3339(order["time"])
        verdict.expect(
            late <= facts.tolerance_ns,
            f"order {name} was journalled {late / 1e9:.3f} s after the broker booked it",
        )
        units = Decimal(str(order["units"]))
        verdict.expect(
            abs(units) == abs(written.units), f"order {name} has {units} units at the broker, {written.units} written"
        )

    for item in transactions:
        name = item.get("clientOrderID", "")
        if item["type"] == "ORDER_CANCEL" and item.get("reason") == "CLIENT_REQUEST":
            verdict.expect(name in facts.cancelled, f"order {name} was cancelled at the broker and nothing was written")
        if item["type"] == "ORDER_CANCEL" and item.get("reason") == "CLIENT_REQUEST_REPLACED":
            verdict.expect(name in facts.amended, f"order {name} was replaced at the broker and nothing was written")


def _check_decisions(verdict: Verdict, transactions: list[dict[str, Any]], facts: JournalFacts) -> None:
    """No decision was executed for more than it asked, and nothing but closing orders left while the switch was on."""
    numbers = {order["id"]: order.get("clientExtensions", {}).get("id", "") for order in client_orders(transactions)}
    executed: dict[str, Decimal] = {}
    for item in transactions:
        name = numbers.get(item.get("orderID", ""), "")
        if item["type"] == "ORDER_FILL" and name in facts.submitted:
            decision = facts.submitted[name].decision_id
            executed[decision] = executed.get(decision, Decimal(0)) + abs(Decimal(str(item["units"])))
    for decision, wanted in facts.decisions.items():
        done = executed.get(decision, Decimal(0))
        verdict.expect(done <= wanted, f"decision {decision} asked for {wanted:f} units, {done:f} were executed")
    for name in facts.sent_while_stopped:
        verdict.problems.append(f"order {name} was sent while the kill switch was on")


def _check_ledger_orders(
    verdict: Verdict, transactions: list[dict[str, Any]], broker: BrokerPages, ledger: LedgerRows
) -> None:
    rows = ledger.rows("ledger_orders")
    for row in rows:
        verdict.expect(row["state"] not in _OPEN_FATES, f"order {row['client_order_id']} ended {row['state']}")
    known = {row["client_order_id"] for row in rows}
    for order in client_orders(transactions):
        name = order.get("clientExtensions", {}).get("id", "")
        verdict.expect(name in known, f"order {name} of transaction {order['id']} is not in the ledger")
    per_decision = Counter(
        row["client_order_id"] for row in ledger.rows("ledger_decisions") if row["client_order_id"] is not None
    )
    for name, count in per_decision.items():
        verdict.expect(count == 1, f"order {name} belongs to {count} decisions")
    ours = {
        row["broker_order_id"] for row in rows if row["state"] in ("accepted", "partially_filled", "pending_cancel")
    }
    theirs = {str(order["id"]) for order in broker.pending_orders()}
    for number in sorted(ours - theirs):
        verdict.problems.append(f"order number {number} is open in the ledger and not at the broker")
    for number in sorted(theirs - ours):
        verdict.problems.append(f"order number {number} is open at the broker and not in the ledger")


def _check_fills(verdict: Verdict, transactions: list[dict[str, Any]], ledger: LedgerRows) -> None:
    theirs = {int(item["id"]): item for item in transactions if item["type"] == "ORDER_FILL"}
    rows = ledger.rows("ledger_fills")
    verdict.fills = len(theirs)
    ours = {int(row["transaction_id"]): row for row in rows}
    verdict.expect(len(ours) == len(rows), f"{len(rows) - len(ours)} fills are doubled in the ledger")
    for number in sorted(theirs.keys() - ours.keys()):
        verdict.problems.append(f"fill {number} of the broker is missing in the ledger")
    for number in sorted(ours.keys() - theirs.keys()):
        verdict.problems.append(f"fill {number} of the ledger is unknown to the broker")
    for number in sorted(theirs.keys() & ours.keys()):
        fill, row = theirs[number], ours[number]
        for name, key in (("units", "units"), ("realised_profit", "pl"), ("financing", "financing")):
            ours_value, their_value = Decimal(str(row[name])), Decimal(str(fill.get(key, "0")))
            verdict.expect(
                ours_value == their_value, f"fill {number}: {name} {ours_value} in the ledger, {their_value} booked"
            )


def _check_positions(verdict: Verdict, broker: BrokerPages, ledger: LedgerRows) -> None:
    ours = {row["instrument"]: Decimal(str(row["units"])) for row in ledger.rows("ledger_positions")}
    theirs = broker.positions()
    for name in sorted(ours.keys() | theirs.keys()):
        mine, booked = ours.get(name, Decimal(0)), theirs.get(name, Decimal(0))
        verdict.expect(mine == booked, f"{name}: {mine:f} units in the ledger, {booked:f} at the broker")


def _check_balance(
    verdict: Verdict, transactions: list[dict[str, Any]], broker: BrokerPages, ledger: LedgerRows
) -> None:
    account = broker.account()
    stated = Decimal(str(account["balance"]))
    sessions = ledger.rows("ledger_sessions")
    if len(sessions) != 1:
        verdict.problems.append(f"{len(sessions)} sessions in the ledger, not 1")
        return
    balance = Decimal(str(sessions[0]["start_balance"]))
    for row in ledger.rows("ledger_fills"):
        balance += Decimal(str(row["realised_profit"])) + Decimal(str(row["financing"]))
        balance -= Decimal(str(row["commission"]))
    # Money that moved without an order is no fill; the ledger keeps its amounts as incidents.
    balance += sum(
        (Decimal(row["words"].split()[0]) for row in ledger.rows("ledger_incidents") if row["kind"] == "account"),
        Decimal(0),
    )
    verdict.expect(
        abs(balance - stated) < CENT, f"balance {balance:.4f} added up from the ledger, {stated:.4f} at the broker"
    )
    states = sorted(
        (row for row in ledger.rows("ledger_account_states") if row["source"] == "broker"),
        key=lambda row: int(row["sequence"]),
    )
    newest = Decimal(str(states[-1]["balance"])) if states else None
    verdict.expect(
        newest is not None and abs(newest - stated) < CENT,
        f"balance {newest} last written into the ledger, {stated:.4f} at the broker",
    )
    verdict.expect(
        sessions[0]["closed_ns"] is not None, "the session is not closed in the ledger: its projection is behind"
    )


def compare_ledgers(verdict: Verdict, projected: LedgerRows, rebuilt: LedgerRows, tables: tuple[str, ...]) -> None:
    """The ledger that grew through every kill must equal the one made from the journal at once, row by row."""
    for table in tables:
        ours = {_plain(row) for row in projected.rows(table)}
        theirs = {_plain(row) for row in rebuilt.rows(table)}
        if ours != theirs:
            only = sorted(ours - theirs)[:1] or sorted(theirs - ours)[:1]
            verdict.problems.append(
                f"{table}: {len(ours - theirs)} rows only projected, {len(theirs - ours)} only rebuilt, such as {only}"
            )


def _plain(row: dict[str, Any]) -> tuple[str, ...]:
    """A row as text that is the same from SQLite and PostgreSQL."""
    return tuple(_text(row[name]) for name in sorted(row))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if isinstance(value, str):
        try:
            number = Decimal(value)
        except ArithmeticError:
            return value
        return f"{number.normalize():f}" if number.is_finite() else value
    return repr(float(value)) if isinstance(value, float) else str(value)
