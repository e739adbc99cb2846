"""The v20 protocol itself: requests as JSON, JSON as domain events, the broker's reasons as ours. No client library.

Shared by whoever speaks it: the OANDA adapter over a network, the paper broker inside this process.
"""
