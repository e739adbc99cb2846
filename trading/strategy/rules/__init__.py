"""Rule strategies: one compiled step each, for the event loop and for the backtester."""
