"""What Feast knows of us: entity, file and push sources, views and services, built from the feature sets."""
