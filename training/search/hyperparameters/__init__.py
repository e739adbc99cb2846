"""Hyper-parameter search: Optuna proposes, workers fit walk-forward, the trial ledger remembers.

One coordinator process owns a study (``lease``). It asks Optuna for parameters, hands each trial to a worker fold by
fold, prunes, and tells Optuna the outcome. Workers write the trial ledger themselves: the row is there before the first
fit and holds the result before anybody is told, so that after a kill of any process the ledger says how far each trial
came (``recovery``).
"""
