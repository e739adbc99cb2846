"""Benchmarks of the money path, each beside its budget or its peer in the same run."""
