"""Prefect glue only: each flow is a short list of calls into the rooms below. Prefect is imported nowhere else.

``flows.run`` starts a flow as a guarded process and imports no Prefect itself.
"""
