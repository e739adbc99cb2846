"""Our view against the broker's: at the start, all the time, and at the end."""
