"""Search: hyper-parameters of the models (Optuna) and parameters of the strategies (DEAP), every trial in the ledger."""
