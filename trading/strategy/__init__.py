"""From calibrated probabilities to target positions."""
