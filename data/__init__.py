"""Market data: sources, calendar, quality gate, bitemporal catalog, panels."""
