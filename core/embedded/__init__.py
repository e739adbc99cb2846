"""Servers that run from wheels when no URL of a managed one is given, and the guardian that ends what was started.

The modules are imported by name (``core.embedded.postgres``): a process that needs none of them pays for none.
"""
