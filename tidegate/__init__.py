"""Composition root: command line, process supervisor, demo."""
