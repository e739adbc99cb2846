"""Broker adapters behind one interface."""
