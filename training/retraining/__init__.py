"""What asks for a new model, asked once: schedule, age, new data, drift, decay. The gate decides what becomes of it."""
