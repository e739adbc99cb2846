"""The endpoints of the v20 protocol, one file a resource."""
