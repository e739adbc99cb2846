"""Client order ids: a pure function of the decision, so that a repeated decision is the same order."""

import hashlib
import re

MAXIMUM_LENGTH = 112  # a v20 ClientID has 128; attached orders add a suffix of up to 16
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_.:-]")


def client_order_id(decision_id: str, leg: int = 0) -> str:
    """Return the id of one order of a decision; ``leg`` counts the orders a decision is split into.

    Ids that are too long or hold characters a broker may refuse end in a digest of the original, so that two decisions
    never share one.
    """
    plain = f"{decision_id}:{leg}"
    clean = _FORBIDDEN.sub("-", plain)
    if clean == plain and len(plain) <= MAXIMUM_LENGTH:
        return plain
    digest = hashlib.sha256(plain.encode()).hexdigest()[:24]
    return f"{clean[: MAXIMUM_LENGTH - len(digest) - 1]}.{digest}"


def amended_order_id(order_id: str, revision: int) -> str:
    """Return the id of the ``revision``-th replacement (from 1) of an order; replacing it again counts on from there.

    Give the id of the first order, not that of a replacement: ids then stay short.
    """
    return client_order_id(f"{order_id}:amended", revision)


def flattening_order_id(reason_key: str, instrument: str, attempt: int) -> str:
    """Return the id of the order that closes a position; ``attempt`` counts from 0 what the broker refused before."""
    return client_order_id(f"{reason_key}:{instrument}", attempt)
