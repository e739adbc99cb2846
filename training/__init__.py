"""Labels, splits, models, evaluation, statistics, evidence."""
