"""Metrics, drift, health, reports."""
