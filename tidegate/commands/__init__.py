"""The commands. A module imports what its command needs inside the function: `tidegate --help` pays for none of it."""
