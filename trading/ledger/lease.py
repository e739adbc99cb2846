"""One trader per account: a lease row with a fencing token that grows with every new holder."""

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError as UniqueViolation

from core.clock import NANOSECONDS, Clock
from core.errors import RefusedError
from trading.ledger.tables import leases

LEASE_SECONDS = 15.0
RENEW_SECONDS = 4.0


class Lease(msgspec.Struct, frozen=True):
    """A held lease. Whoever holds the highest token is the trader of the account."""

    account_key: str
    holder: str
    session_id: str
    token: int


def acquire(engine: sa.Engine, account_key: str, holder: str, session_id: str, clock: Clock) -> Lease:
    """Take the lease of an account.

    The same holder takes its own lease over at once: it holds its session's journal lock, so its predecessor is gone.

    Raises:
        RefusedError: another trader holds it.
    """
    now = clock.time_ns()
    expires = now + round(LEASE_SECONDS * NANOSECONDS)
    with engine.begin() as connection:
        row = connection.execute(
            sa.select(leases).where(leases.c.account_key == account_key).with_for_update()
        ).one_or_none()
        if row is None:
            try:
                connection.execute(
                    leases.insert().values(
                        account_key=account_key,
                        holder=holder,
                        session_id=session_id,
                        fencing_token=1,
                        expires_ns=expires,
                    )
                )
            except UniqueViolation:
                raise RefusedError(
                    f"account {account_key} was just taken by another trader: stop that one first"
                ) from None
            return Lease(account_key, holder, session_id, 1)
        if row.holder != holder and row.expires_ns > now:
            seconds = (row.expires_ns - now) / NANOSECONDS
            raise RefusedError(
                f"account {account_key} is being traded by session {row.session_id} ({row.holder}): stop that trader, "
                f"or wait {seconds:.0f} s if it is gone"
            )
        token = int(row.fencing_token) + 1
        moved = connection.execute(
            leases.update()
            .where(leases.c.account_key == account_key, leases.c.fencing_token == row.fencing_token)
            .values(holder=holder, session_id=session_id, fencing_token=token, expires_ns=expires)
        )
        if moved.rowcount != 1:
            raise RefusedError(f"account {account_key} was just taken by another trader: stop that one first")
        return Lease(account_key, holder, session_id, token)


def renew(engine: sa.Engine, lease: Lease, clock: Clock) -> bool:
    """Prolong a lease; False where somebody else took it: the old holder must stop at once."""
    with engine.begin() as connection:
        moved = connection.execute(
            leases.update()
            .where(leases.c.account_key == lease.account_key, leases.c.fencing_token == lease.token)
            .values(expires_ns=clock.time_ns() + round(LEASE_SECONDS * NANOSECONDS))
        )
        return moved.rowcount == 1


def release(engine: sa.Engine, lease: Lease) -> None:
    """Let the next trader in at once. The token stays, so that the next one is higher."""
    with engine.begin() as connection:
        connection.execute(
            leases.update()
            .where(leases.c.account_key == lease.account_key, leases.c.fencing_token == lease.token)
            .values(expires_ns=0)
        )
