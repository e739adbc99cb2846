"""The exchange core: one account's orders, trades, margin and money in ``Decimal``; no I/O, deterministic."""
