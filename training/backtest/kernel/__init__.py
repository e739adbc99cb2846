"""The compiled half of the backtester: exact money, fills, the path inside a bar, and the loop over bars."""
