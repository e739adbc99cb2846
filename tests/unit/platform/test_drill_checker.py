"""The drill's checker finds planted faults: a session that is right passes, and each thing made wrong is named."""

import http.server
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from core.clock import to_rfc3339
from core.database import create_engine, migrate
from core.domain import AccountState, Fill, OrderFilled, OrderRequest
from core.journal import Journal
from tidegate.drill.checker import Verdict, check_session, compare_ledgers
from tidegate.drill.sources import BrokerPages, JournalFacts, LedgerRows
from trading import records
from trading.ledger import tables
from trading.ledger.rebuilding import rebuild

SESSION, TOKEN, ACCOUNT = "planted", "token-of-the-checker-tests", "101-004-7654321-009"
START = 1_709_542_800_000_000_000
NAMES = ("drill:EUR_USD:1:0", "drill:EUR_USD:2:0")


def order(number: int) -> OrderRequest:
    return OrderRequest(NAMES[number], "EUR_USD", Decimal(1000), decision_id=f"drill:EUR_USD:{number + 1}")


def fill(number: int) -> Fill:
    return Fill(
        transaction_id=5 + 2 * number,
        client_order_id=NAMES[number],
        broker_order_id=str(4 + 2 * number),
        instrument="EUR_USD",
        units=Decimal(1000),
        price=Decimal("1.1"),
        time_ns=START + number,
        realised_profit=Decimal("1.25"),
        account_balance=Decimal("100001.25") + Decimal("1.25") * number,
        reason="MARKET_ORDER",
    )


class Account:
    """An account with two orders, each filled, as its pages show it."""

    def __init__(self) -> None:
        self.transactions: list[dict[str, Any]] = [{"id": str(n), "type": "CREATE"} for n in (1, 2, 3)]
        for number in (0, 1):
            self.transactions += [self.order(number), self.fill(number)]
        self.balance = "100002.5000"
        self.units = "2000"
        self.pending: list[dict[str, Any]] = []

    def order(self, number: int) -> dict[str, Any]:
        return {
            "id": str(4 + 2 * number),
            "type": "MARKET_ORDER",
            "reason": "CLIENT_ORDER",
            "units": "1000",
            "time": to_rfc3339(START + number),
            "clientExtensions": {"id": NAMES[number]},
        }

    def fill(self, number: int) -> dict[str, Any]:
        return {
            "id": str(5 + 2 * number),
            "type": "ORDER_FILL",
            "orderID": str(4 + 2 * number),
            "clientOrderID": NAMES[number],
            "units": "1000",
            "pl": "1.2500",
            "financing": "0.0000",
            "time": to_rfc3339(START + number),
        }

    def add(self, transaction: dict[str, Any]) -> None:
        self.transactions.append(transaction | {"id": str(len(self.transactions) + 1)})

    def page(self, path: str) -> dict[str, Any]:
        if "/summary" in path:
            return {"account": {"balance": self.balance, "lastTransactionID": str(len(self.transactions))}}
        if "/pendingOrders" in path:
            return {"orders": self.pending}
        if "/openPositions" in path:
            side = {"long": {"units": self.units}, "short": {"units": "0"}}
            return {"positions": [{"instrument": "EUR_USD", **side}]}
        return {"transactions": self.transactions}


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def broker(account: Account) -> Iterator[BrokerPages]:
    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(account.page(self.path)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield BrokerPages(f"http://127.0.0.1:{server.server_port}", TOKEN, ACCOUNT)
        server.shutdown()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "empty.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


def session_records() -> list[records.AnyRecord]:
    state = AccountState("USD", Decimal(100_000), Decimal(100_000), Decimal(0), Decimal(0), Decimal(0), 3, START - 1)
    ended = AccountState(
        "USD", Decimal("100002.5"), Decimal("100002.5"), Decimal(0), Decimal(0), Decimal(0), 7, START + 9
    )
    opened = records.SessionOpened(
        SESSION, "d", "drill", "oanda", "practice:checker", ("EUR_USD",), state, (), resumed=False, simulated=True
    )
    found: list[records.AnyRecord] = [opened]
    for number in (0, 1):
        decision = records.DecisionMade(
            f"drill:EUR_USD:{number + 1}", "EUR_USD", START + number, Decimal(0), 0.1, Decimal(1000), "", order(number)
        )
        filled = OrderFilled(fill(number).transaction_id, fill(number), START + number)
        found += [
            decision,
            records.OrderSubmitted(order(number), START + number),
            records.BrokerSaid(filled, "reply"),
        ]
    return [*found, records.CaughtUp(7), records.AccountSeen(ended), records.SessionClosed("end of data")]


def write_journal(folder: Path, found: list[records.AnyRecord]) -> None:
    with Journal(folder) as writer:
        for record in found:
            durable = isinstance(record, records.DURABLE)
            writer.append(records.kind_of(record), records.encode(record), START, durable=durable)


Written = Callable[[list[records.AnyRecord]], tuple[Path, Path]]


@pytest.fixture
def written(tmp_path: Path, template: Path) -> Written:
    """Write records into a journal and project them; returns the journal's folder and the ledger's file."""

    def write(found: list[records.AnyRecord]) -> tuple[Path, Path]:
        journal, ledger = tmp_path / "journal", tmp_path / "ledger.sqlite"
        write_journal(journal, found)
        ledger.write_bytes(template.read_bytes())
        engine = create_engine(f"sqlite:///{ledger}")
        rebuild(engine, journal, SESSION)
        engine.dispose()
        return journal, ledger

    return write


def verdict_of(broker: BrokerPages, paths: tuple[Path, Path]) -> list[str]:
    journal, ledger = paths
    return check_session(broker, LedgerRows(str(ledger), SESSION), JournalFacts.read(journal)).problems


def change(ledger: Path, text: str) -> None:
    with sqlite3.connect(ledger) as connection:
        assert connection.execute(text).rowcount == 1


def test_a_session_that_is_right_passes(broker: BrokerPages, written: Written) -> None:
    assert verdict_of(broker, written(session_records())) == []


def test_a_doubled_order_is_found(account: Account, broker: BrokerPages, written: Written) -> None:
    account.add(account.order(1))
    assert any("2 times at the broker: sent twice" in words for words in verdict_of(broker, written(session_records())))


def test_an_order_under_another_id_for_one_decision_is_found(
    account: Account, broker: BrokerPages, written: Written
) -> None:
    found = session_records()
    second = records.OrderSubmitted(
        OrderRequest("drill:EUR_USD:1:7", "EUR_USD", Decimal(1000), decision_id="drill:EUR_USD:1"), START
    )
    found.insert(-3, second)
    account.add(account.order(0) | {"clientExtensions": {"id": "drill:EUR_USD:1:7"}})
    account.add(account.fill(0) | {"orderID": str(len(account.transactions))})
    problems = verdict_of(broker, written(found))
    assert any("asked for 1000 units, 2000 were executed" in words for words in problems)


def test_a_missing_fill_is_found(broker: BrokerPages, written: Written) -> None:
    journal, ledger = written(session_records())
    change(ledger, "DELETE FROM ledger_fills WHERE transaction_id = 7")
    problems = verdict_of(broker, (journal, ledger))
    assert any("fill 7 of the broker is missing in the ledger" in words for words in problems)


def test_an_invented_fill_is_found(account: Account, broker: BrokerPages, written: Written) -> None:
    account.transactions.pop()
    problems = verdict_of(broker, written(session_records()))
    assert any("fill 7 of the ledger is unknown to the broker" in words for words in problems)


def test_a_cent_is_found(account: Account, broker: BrokerPages, written: Written) -> None:
    account.balance = "100002.5100"
    assert any("balance 100002.5000 added up" in words for words in verdict_of(broker, written(session_records())))


def test_a_unit_is_found(account: Account, broker: BrokerPages, written: Written) -> None:
    account.units = "1999"
    assert verdict_of(broker, written(session_records())) == ["EUR_USD: 2000 units in the ledger, 1999 at the broker"]


def test_an_order_sent_before_it_was_written_is_found(broker: BrokerPages, written: Written) -> None:
    found = session_records()
    missing = [record for record in found if not isinstance(record, records.OrderSubmitted)]
    assert any("sent before it was written" in words for words in verdict_of(broker, written(missing)))


def test_an_order_written_after_the_answer_is_found(broker: BrokerPages, written: Written, tmp_path: Path) -> None:
    _, ledger = written(session_records())
    late = session_records()
    at = next(number for number, record in enumerate(late) if isinstance(record, records.OrderSubmitted))
    late[at], late[at + 1] = late[at + 1], late[at]
    write_journal(tmp_path / "late", late)
    assert any("after the broker's answer" in words for words in verdict_of(broker, (tmp_path / "late", ledger)))


def test_an_order_that_ends_unknown_is_found(broker: BrokerPages, written: Written) -> None:
    journal, ledger = written(session_records())
    change(ledger, f"UPDATE ledger_orders SET state = 'unknown' WHERE client_order_id = '{NAMES[0]}'")
    assert f"order {NAMES[0]} ended unknown" in verdict_of(broker, (journal, ledger))


def test_an_order_sent_while_the_switch_is_on_is_found(broker: BrokerPages, written: Written) -> None:
    found = session_records()
    found.insert(1, records.KillSwitchSet(True, False, START, "a person says stop", "desk"))
    problems = verdict_of(broker, written(found))
    assert [words for words in problems if "while the kill switch was on" in words] == [
        f"order {name} was sent while the kill switch was on" for name in NAMES
    ]


def test_an_open_order_only_the_broker_knows_is_found(account: Account, broker: BrokerPages, written: Written) -> None:
    account.pending.append({"id": "99"})
    problems = verdict_of(broker, written(session_records()))
    assert problems == ["order number 99 is open at the broker and not in the ledger"]


def test_a_row_that_a_rebuild_does_not_give_is_found(written: Written, tmp_path: Path) -> None:
    _, ledger = written(session_records())
    rebuilt = tmp_path / "rebuilt.sqlite"
    rebuilt.write_bytes(ledger.read_bytes())
    names = tuple(table.name for table in tables.PROJECTED)
    verdict = Verdict()
    compare_ledgers(verdict, LedgerRows(str(ledger), SESSION), LedgerRows(str(rebuilt), SESSION), names)
    assert verdict.problems == []
    change(rebuilt, "UPDATE ledger_positions SET units = '1999'")
    compare_ledgers(verdict, LedgerRows(str(ledger), SESSION), LedgerRows(str(rebuilt), SESSION), names)
    assert len(verdict.problems) == 1 and verdict.problems[0].startswith("ledger_positions: 1 rows only projected")
