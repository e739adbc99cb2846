"""Our app of the MLflow server: accounts with roles, on top of MLflow's basic authentication.

It is an entry point of the group ``mlflow.app``: ``mlflow server --app-name tidegate``. Nothing here is imported by
other processes than that server; ``account`` alone is also for clients.
"""
