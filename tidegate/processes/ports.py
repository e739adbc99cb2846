"""TCP ports on the loopback interface."""

import socket

from core.errors import BadInputError

HOST = "127.0.0.1"


def choose_port(wanted: int, purpose: str, any_if_taken: bool = False) -> int:
    """Return ``wanted`` if it is free, a free one when ``wanted`` is 0 or ``any_if_taken``.

    Raises:
        BadInputError: the port is in use; the message names it and what it was for.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError:
            if not any_if_taken:
                raise BadInputError(
                    f"port {wanted} for {purpose} is in use: end its user or set another port"
                ) from None
            return choose_port(0, purpose)
        return int(probe.getsockname()[1])
