"""The practice broker: an OANDA v20-compatible server on the exchange core, fed with recorded or simulated prices."""
