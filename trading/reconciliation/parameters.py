"""How often the broker is asked, and how often in vain before somebody is called."""

import msgspec

from core.errors import BadInputError


class ReconciliationParameters(msgspec.Struct, frozen=True):
    """Intervals of the continuous comparison, in seconds of the session's clock.

    Attributes:
        in_flight_seconds: between two questions about orders in flight. 2: the answer to a lost reply is worth
            knowing before the next quote matters, and it costs one request.
        in_flight_age_seconds: an order or cancellation in flight for longer is asked about. 5: v20 answers in tens of
            milliseconds, and our own time-outs are shorter than that.
        in_flight_tries: questions without an answer before new risk stops and an alert is raised. 5: with the interval
            about ten seconds, which a broker's fail-over takes, and no longer.
        open_orders_seconds: between two comparisons of the open orders. 30: an order that vanished protects nobody.
        positions_seconds: between two comparisons of positions and account. 60: positions move by our own fills, which
            come on their own way; this looks for what did not.
        confirm_seconds: between the two looks at a difference. 2: an event may be on its way as long as that.
        lockstep_steps: steps between two comparisons where the market stands still while the trader works. Time then
            passes in jumps of hours, and nobody but this trader moves the account.
        requests_timeout_seconds: of the machine's time; a look that takes longer is given up and begun again.
    """

    in_flight_seconds: float = 2.0
    in_flight_age_seconds: float = 5.0
    in_flight_tries: int = 5
    open_orders_seconds: float = 30.0
    positions_seconds: float = 60.0
    confirm_seconds: float = 2.0
    lockstep_steps: int = 50
    requests_timeout_seconds: float = 30.0

    def at_speed(self, speed: float) -> "ReconciliationParameters":
        """Return the same intervals of the machine's time for a market that runs ``speed`` times as fast."""
        names = ("in_flight_seconds", "in_flight_age_seconds", "open_orders_seconds", "positions_seconds")
        changes = {name: getattr(self, name) * speed for name in (*names, "confirm_seconds")}
        return msgspec.structs.replace(self, **changes)

    def check(self) -> None:
        """Refuse intervals that are not positive.

        Raises:
            BadInputError: naming the field.
        """
        for name in self.__struct_fields__:
            if not getattr(self, name) > 0:
                raise BadInputError(f"reconciliation {name} must be above 0, not {getattr(self, name)}")
