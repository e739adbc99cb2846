"""One feature kernel, its batch and live drivers, the Feast repository."""
