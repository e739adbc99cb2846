"""Trading: the loop, strategy, risk, OMS, execution, brokers, ledger, reconciliation, practice broker."""
