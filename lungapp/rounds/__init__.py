"""Rounds: a durable workflow in a worker process makes a model of accepted corrections, and publishes it or not.

Read `workflow.py` for the order of the steps, `steps.py` for what each does, `worker.py` for who runs them.
"""
