"""Execution algorithms: a decision's order worked off in parts over time."""
