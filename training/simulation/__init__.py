"""Markets whose truth is known, searched and judged as real ones are: how often the offline gate is wrong."""
