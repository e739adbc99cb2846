"""Pages about releases and rollbacks, self-contained, in the look of the training reports."""
