"""Strategy search: islands of NSGA-II over the parameters of a rule, walk-forward, every backtest counted."""
