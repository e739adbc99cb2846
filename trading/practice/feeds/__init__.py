"""Price feeds of the practice broker, all behind ``feeds.interface.Feed``."""
