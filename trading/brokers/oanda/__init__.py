"""The OANDA v20 adapter. oandapyV20 stays inside this folder: none of its types leave it."""

from trading.brokers.oanda.broker import OandaBroker

__all__ = ["OandaBroker"]
