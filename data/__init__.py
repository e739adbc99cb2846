"""Market data: sources, calendar, quality gate, catalog."""
