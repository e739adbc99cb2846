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
