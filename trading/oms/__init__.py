"""Order management: identities, the order state machine, the order book and the position model."""
