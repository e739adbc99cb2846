"""Feeds over a workspace's catalog: loads the panel and hands it to the feed its rows are made for."""

from collections.abc import Mapping
from typing import Any

from core.domain import BarKind, Instrument
from core.errors import BadInputError
from data.holdout import cutoff_ns
from data.panel import load_panel
from trading.practice.config import FeedKind, PracticeConfig
from trading.practice.feeds.bars import BarsFeed
from trading.practice.feeds.fixings import FixingsFeed
from trading.practice.feeds.interface import Feed

_CATALOG = "data/raw/catalog"


def panel_feed(
    config: PracticeConfig,
    params: dict[str, Any],
    instruments: Mapping[str, Instrument],
    *,
    seed: int,
    half_spread_points: Mapping[str, int],
    bridge_ticks: int,
) -> Feed:
    """Build a feed over the catalog, starting at ``config.from_ns`` or at the hold-out of ``params.yaml``.

    Raises:
        BadInputError: the catalog holds the other kind of rows, or nothing around the start.
    """
    assert config.workspace is not None
    panel = load_panel(config.workspace / _CATALOG, list(instruments), end_ns=config.to_ns)
    if not len(panel.time_ns):
        raise BadInputError(f"the catalog {config.workspace / _CATALOG} is empty: run `tidegate ingest` first")
    start_ns = config.from_ns
    if start_ns is None:
        start_ns = cutoff_ns(panel.time_ns, params.get("data", {}).get("holdout") or {})
    wanted = BarKind.FIXING if config.feed is FeedKind.FIXINGS else BarKind.BAR
    if panel.kind is not wanted:
        raise BadInputError(f"the catalog holds {panel.kind}s, the {config.feed} feed needs {wanted}s; change --feed")
    if wanted is BarKind.FIXING:
        return FixingsFeed(
            panel,
            instruments,
            start_ns=start_ns,
            bridge_ticks=bridge_ticks,
            half_spread_points=half_spread_points,
            seed=seed,
        )
    return BarsFeed(panel, instruments, start_ns=start_ns, half_spread_points=half_spread_points)
