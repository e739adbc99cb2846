"""What every stage after the dataset starts from."""

from dataclasses import dataclass
from typing import Any

import msgspec

from core.params import read_params
from training.dataset import DATASET, Dataset, load_dataset
from training.labels.primary import PrimaryRule, primary_rule
from training.lineage import Lineage, read_features_file, read_lineage
from training.model_parameters import check_features
from training.parameters import Parameters, parse
from training.splits import Split, WalkForward, check_classes
from training.stages.prepare import FEATURES_FILE
from training.tracking import Tracker


@dataclass(frozen=True)
class Context:
    """Parameters, rows, folds and lineage of one retraining."""

    parameters: Parameters
    dataset: Dataset
    folds: list[Split]
    lineage: Lineage

    @property
    def rule(self) -> PrimaryRule | None:
        """The primary rule of meta-labels, None for other kinds."""
        return primary_rule(self.parameters.labels, self.dataset.feature_names)

    @property
    def feature_digest(self) -> str:
        """Digest of the feature set definition."""
        return self.lineage.feature_digest

    def tracker(self) -> Tracker:
        """Open tracking, finding or creating the retraining's parent run."""
        sections = ("costs", "data", "evaluation", "features", "labels", "seed", "validation")
        shown = {key: self.parameters.raw.get(key) for key in sections}
        return Tracker(self.parameters.market, self.lineage, shown)

    def model_parameters(self, name: str) -> dict[str, Any]:
        """Return the parameters of a component as logged and written into its manifest."""
        return msgspec.to_builtins(getattr(self.parameters.models, name))


def load_context() -> Context:
    """Read parameters and dataset of the workspace, and split it."""
    parameters = parse(read_params())
    described = read_features_file(FEATURES_FILE)
    check_features(parameters.models, described["columns"])
    dataset = load_dataset(DATASET, described["columns"], parameters.labels.horizon)
    options = parameters.validation
    walk = WalkForward(options.folds, options.train_steps, options.embargo, options.scheme)
    folds = walk.folds_of(dataset.time_ns, dataset.label_end_ns)
    check_classes(dataset.label, folds, dataset.weights)
    return Context(parameters, dataset, folds, read_lineage(DATASET, parameters, described["digest"]))
