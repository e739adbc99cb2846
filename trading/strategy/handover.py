"""Strategy parameters that versions bring along: whose prediction is traded, by its parameters it is sized.

A version's package may hold strategy parameters beside its model (``parameters.strategy`` of the manifest). Under a
canary each instrument is sized as its version was made for; in a blend the parameters go over with the forecast, by the
policy's weight, so that neither jumps. What a version does not name is the session's; a version that names none changes
nothing. The shares stand in the prediction, and so in the journal: a replay sizes as the session did.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from core.domain import Prediction, StrategyShare
from core.errors import BadInputError, RefusedError
from trading.strategy.sizing import SizingParameters

# They define the label or the shape of an order: a value between two of them means nothing.
_WHOLE = frozenset({"horizon", "skip_loss", "maximum_slippage_pips"})


def own_sizings(session: SizingParameters, predictions: Mapping[str, Prediction]) -> dict[str, SizingParameters]:
    """Return the sizing of every instrument whose prediction brings strategy parameters; empty where none does."""
    return {
        name: sizing_of(session, prediction.strategy) for name, prediction in predictions.items() if prediction.strategy
    }


def check_strategies(session: SizingParameters, answers: Sequence[Prediction]) -> None:
    """Refuse predictions whose strategy parameters cannot be sized with.

    Raises:
        RefusedError: naming the version.
    """
    for answer in answers:
        if answer.strategy:
            try:
                sizing_of(session, answer.strategy)
            except RefusedError as error:
                raise RefusedError(f"model version {answer.model_version}: {error.message}") from None


@lru_cache(maxsize=256)
def sizing_of(session: SizingParameters, shares: tuple[StrategyShare, ...]) -> SizingParameters:
    """Return the session's sizing with the shares' parameters in place of its own, weighted.

    Parameters that allow no value in between are those of the largest share, the first of two equal ones.

    Raises:
        RefusedError: a name that sizing does not have, or a value that makes no sense.
    """
    known = {field.name: field.type for field in msgspec.structs.fields(SizingParameters)}
    strange = sorted({name for share in shares for name, _ in share.values} - set(known))
    if strange:
        raise RefusedError(f"strategy parameter {strange[0]!r} is unknown to sizing: publish the version again")
    brought: list[dict[str, Any]] = [dict(share.values) for share in shares]
    if not all(math.isfinite(value) for values in brought for value in values.values()):
        raise RefusedError("a strategy parameter is no number: publish the version again")
    largest = max(range(len(shares)), key=lambda index: shares[index].weight)
    changes: dict[str, object] = {}
    for name in sorted({name for values in brought for name in values}):
        standing: Any = getattr(session, name)
        if name in _WHOLE:
            whole = brought[largest].get(name, standing)
            changes[name] = round(whole) if known[name] is int else whole
        else:
            parts = (share.weight * values.get(name, standing) for share, values in zip(shares, brought, strict=True))
            changes[name] = sum(parts)
    sizing = msgspec.structs.replace(session, **changes)
    try:
        sizing.check()
    except BadInputError as error:
        raise RefusedError(error.message) from None
    return sizing
