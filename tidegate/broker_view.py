"""Our ledger against the broker's own account, which is asked over plain HTTP and not through our adapter."""

import json
import urllib.request
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from core.database import create_engine
from core.errors import UnavailableError
from monitoring.report.summary import Difference
from trading.ledger import tables


class BrokerView:
    """The account as the broker itself states it, asked over plain HTTP and not through our adapter."""

    def __init__(self, rest_url: str, token: str, account_id: str) -> None:
        self._base = f"{rest_url}/v3/accounts/{account_id}"
        self._token = token

    def get(self, path: str) -> dict[str, Any]:
        """Ask for one path below the account.

        Raises:
            UnavailableError: no answer.
        """
        request = urllib.request.Request(f"{self._base}{path}", headers={"Authorization": f"Bearer {self._token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return json.load(reply)
        except OSError as error:
            raise UnavailableError(f"broker does not answer for the reconciliation: {error}") from None

    def fills(self) -> list[dict[str, Any]]:
        """Every ORDER_FILL transaction since the account began."""
        found: list[dict[str, Any]] = []
        since = 0
        while True:
            page = self.get(f"/transactions/sinceid?id={since}&type=ORDER_FILL")
            found += [item for item in page["transactions"] if item["type"] == "ORDER_FILL"]
            last = max((int(item["id"]) for item in page["transactions"]), default=since)
            if last <= since or last >= int(page["lastTransactionID"]):
                return found
            since = last


def reconcile_ledger(database_url: str, session: str, broker: BrokerView) -> list[Difference]:
    """Compare the SQL ledger of a session with the broker, to the unit and to the cent.

    The session's account must have no other trader: every fill of the account belongs to the session.
    """
    engine = create_engine(database_url)
    with engine.connect() as connection:

        def select(table: sa.Table, *columns: sa.ColumnElement[Any]) -> list[Any]:
            return list(connection.execute(sa.select(*columns).where(table.c.session_id == session)))

        fills = select(tables.fills, tables.fills.c.transaction_id, tables.fills.c.instrument, tables.fills.c.units,
                       tables.fills.c.realised_profit, tables.fills.c.commission, tables.fills.c.financing)  # fmt: skip
        held = {
            row[0]: row[1] for row in select(tables.positions, tables.positions.c.instrument, tables.positions.c.units)
        }
        start = select(tables.sessions, tables.sessions.c.start_balance)[0][0]
        orders = select(tables.orders, tables.orders.c.client_order_id)
    engine.dispose()
    theirs = broker.fills()
    account = broker.get("/summary")["account"]
    open_positions = {
        item["instrument"]: Decimal(item["long"]["units"]) + Decimal(item["short"]["units"])
        for item in broker.get("/openPositions")["positions"]
    }
    our_ids, their_ids = {int(row[0]) for row in fills}, {int(item["id"]) for item in theirs}
    balance = start + sum((row[3] - row[4] + row[5] for row in fills), Decimal(0))
    units = sum((abs(row[2]) for row in fills), Decimal(0))
    their_units = sum((abs(Decimal(item["units"])) for item in theirs), Decimal(0))
    rows = [
        _row("orders in the ledger, each known by one client id", len(orders), len({row[0] for row in orders})),
        _row("fills", len(fills), len(theirs)),
        _row("fills only one side knows", len(our_ids - their_ids), len(their_ids - our_ids)),
        _row("units traded", f"{units.normalize():,f}", f"{their_units.normalize():,f}"),
        _row(f"balance, {account['currency']}", f"{balance:.2f}", f"{Decimal(account['balance']):.2f}"),
    ]
    for instrument in sorted({name for name, size in held.items() if size} | set(open_positions)):
        ours = held.get(instrument, Decimal(0))
        rows.append(_row(f"{instrument} units", f"{ours:,.0f}", f"{open_positions.get(instrument, Decimal(0)):,.0f}"))
    return rows


def _row(item: str, ours: object, broker: object) -> Difference:
    return Difference(item, str(ours), str(broker), str(ours) == str(broker))
