"""Sources of market data behind one interface, found by name."""

from functools import lru_cache

from core.errors import BadInputError
from data.sources.interface import LoadOptions, Source

__all__ = ["LoadOptions", "Source", "find_source", "sources"]


@lru_cache(maxsize=1)
def sources() -> dict[str, Source]:
    """Return every source by name, sorted."""
    from data.sources.dukascopy import DukascopySource
    from data.sources.ecb import EcbSource
    from data.sources.histdata import HistdataSource
    from data.sources.lean import LeanSource
    from data.sources.metatrader import MetatraderSource
    from data.sources.nautilus import NautilusSource
    from data.sources.oanda import OandaSource
    from data.sources.simulation import SimulationSource
    from data.sources.truefx import TruefxSource

    every: list[Source] = [
        DukascopySource(),
        EcbSource(),
        HistdataSource(),
        LeanSource(),
        MetatraderSource(),
        NautilusSource(),
        OandaSource(),
        SimulationSource(),
        TruefxSource(),
    ]
    return {source.name: source for source in every}


def find_source(name: str) -> Source:
    """Return the source called ``name``.

    Raises:
        BadInputError: there is none; the message lists those there are.
    """
    every = sources()
    if name not in every:
        raise BadInputError(f"unknown source {name!r}: use one of {', '.join(every)}")
    return every[name]
