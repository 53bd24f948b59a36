"""Masks against references: which files belong together, their scores, and the tables, statistics and report of them.

Reading begins with `run.py`; the metrics themselves are in `infers/metrics.py`.
"""
