"""Pipeline stages of the training room, as DVC runs them: ``python -m training.stages <stage> [model]``.

Each runs in a workspace (a folder with ``params.yaml``), reads what earlier stages wrote and writes its outputs whole
or not at all. Progress goes to stderr.
"""
