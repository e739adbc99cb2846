"""Kernel: domain types, settings, clock, journal, database engine, errors, logging. No I/O at import."""
