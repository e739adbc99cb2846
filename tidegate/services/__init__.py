"""The services of the platform: how each is started, how it proves that it is ready, what it may see."""
