"""Pre-trade risk: limits every order passes, and the persisted states ACTIVE, REDUCING and HALTED."""
