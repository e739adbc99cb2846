"""Which version answers which decision: traffic policies, their assignment and what each arm does."""
