"""What decides which model version may be served: evidence, approvals, publication, the watch on the registry."""
