"""One simulated market as the platform would learn it: real features, labels, folds and costs of a made-up panel."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.digest import digest_source, digest_value
from features.batch import compute
from features.sets import feature_set
from training.dataset import ECONOMICS, Dataset
from training.labels import make_labels
from training.parameters import Parameters, parse
from training.simulation.learner import PreparedFold, prepare
from training.simulation.markets import INSTRUMENTS, Market, MarketParameters, make_market
from training.splits import Split, WalkForward

Array = NDArray[np.float64]
FEATURES = "bars"
STATE = "state"  # the column that drives a planted market; in a market without signal it is one more noise
_WARM_UP = 260
_HOLDOUT = 250


@dataclass(frozen=True)
class Study:
    """What a search on one market works on. ``truth`` is float64 [R, 3], the exact class probabilities."""

    market: Market
    parameters: Parameters
    dataset: Dataset
    folds: list[Split]
    truth: Array
    lineage: str
    code_digest: str

    @cached_property
    def prepared(self) -> list[PreparedFold]:
        """The folds, standardised once for all trials."""
        return [prepare(self.dataset, fold) for fold in self.folds]

    @property
    def rows(self) -> NDArray[np.int64]:
        """The test rows of all folds, in order."""
        return np.concatenate([fold.test for fold in self.folds])


def study_parameters(market: MarketParameters, folds: int, seed: int, raw: dict[str, Any]) -> Parameters:
    """Return training parameters for a simulated market; sizing, evaluation and gate are those of ``raw``."""
    # The bootstrap and the sizing of the workspace are kept: they are part of what is being judged.
    strategy = {**(raw.get("strategy") or {}), "steps_per_year": market.steps_per_year}
    strategy["volatility_feature"] = "volatility_21"
    return parse(
        {
            "market": "simulation",
            "seed": seed,
            "data": {"instruments": list(INSTRUMENTS), "holdout": {"count": _HOLDOUT}},
            "features": {"set": FEATURES, "warmup": _WARM_UP},
            "costs": {"slippage_pips": 0.1, "commission_per_million": 0.0},
            "labels": {"horizon": 1, "minimum_edge": 1.0},
            "validation": {"folds": folds, "train_steps": market.steps // 4, "embargo": 5, "scheme": "rolling"},
            "evaluation": raw.get("evaluation") or {},
            "strategy": strategy,
            "execution": raw.get("execution") or {},
            "gate": raw.get("gate") or {},
        }
    )


def make_study(market_parameters: MarketParameters, parameters: Parameters, seed: list[int]) -> Study:
    """Draw a market and build its dataset and folds.

    Args:
        market_parameters: of the law.
        parameters: of ``study_parameters``.
        seed: of the draws.
    """
    market = make_market(market_parameters, seed)
    panel, definition = market.panel, feature_set(FEATURES)
    cutoff = int(panel.time_ns[-_HOLDOUT])
    labels = make_labels(panel, parameters.costs, parameters.labels, cutoff)
    kept = labels.bar >= _WARM_UP
    step, instrument = labels.step[kept], labels.instrument[kept]
    features, _ = compute(panel, definition)
    table = np.column_stack([features[step, instrument], market.state[step, instrument]]).astype(np.float32)
    dataset = Dataset(
        labels.instruments,
        instrument,
        labels.time_ns[kept],
        labels.label_end_ns[kept],
        labels.bar[kept],
        labels.label[kept],
        table,
        (*definition.columns, STATE),
        {name: getattr(labels, name)[kept] for name in ECONOMICS},
        cutoff,
        parameters.labels.horizon,
    )
    options = parameters.validation
    walk = WalkForward(options.folds, options.train_steps, options.embargo, options.scheme)
    folds = walk.folds_of(dataset.time_ns, dataset.label_end_ns)
    half = market.half_spread
    slippage = np.array([0.1 * 1e-4 for _ in INSTRUMENTS])
    cost = half[step, instrument] + half[step + 1, instrument] + 2.0 * slippage[instrument]
    truth = market.bayes(step, instrument, cost, parameters.labels.minimum_edge)
    lineage = digest_value([msgspec.to_builtins(market_parameters), seed])[:16]
    return Study(market, parameters, dataset, folds, truth, f"simulation-{lineage}", _code_digest())


@lru_cache(maxsize=1)
def _code_digest() -> str:
    return digest_source("training")
