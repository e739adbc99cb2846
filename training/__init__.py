"""From a panel and its features to a model package with evidence: labels, splits, models, evaluation, tracking."""
