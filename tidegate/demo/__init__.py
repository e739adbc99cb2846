"""The main job end to end, embedded: ingest, learn, gate, serve, trade unseen data, reconcile, report."""
