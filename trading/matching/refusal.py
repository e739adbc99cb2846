"""Why an order is not executed now."""


class RefusalError(Exception):
    """It cannot be executed and is cancelled; the text is the protocol's word."""


class WaitError(Exception):
    """Nothing is offered on this quote; it goes on resting."""
