"""Backtests of registered model versions: features, predictions, the trader's own decisions, the engine's money."""
