"""Prefect glue: each flow a short list of calls into the rooms."""
