"""Search: hyper-parameters of models (Optuna) and parameters of strategies (DEAP), every trial in the ledger."""
