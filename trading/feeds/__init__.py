"""Where quotes come from and how time passes: lockstep with a practice broker, or live."""
