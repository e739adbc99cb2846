"""The report of one run: every stage's result on one self-contained HTML page."""
