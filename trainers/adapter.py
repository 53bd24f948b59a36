"""MONAI Label's `TrainTask` over rounds: the stock server trains the same way, with the same gate.

MONAI Label's own `BasicTrainTask` copies each epoch over the served model, validates on the last files in the list and
seeds nothing; of it, only what clients see is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask


class RoundTask(TrainTask):
    """A trainer as MONAI Label lists it.

    Args:
        description: One sentence for people.
        run: Queues a round, or takes the one that is under way, and stays until it has ended; gives its statistics.
        stats: How far the round under way is, else how the last one went.
    """

    def __init__(
        self, description: str, run: Callable[[], dict[str, Any]], stats: Callable[[], dict[str, Any]]
    ) -> None:
        super().__init__(description)
        self._run = run
        self._stats = stats

    def stats(self) -> dict[str, Any]:
        """`epoch`, `total_epochs`, `best_metric`, and `total_time` once it has ended."""
        return self._stats()

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train; the stock server calls this in a process of its own.

        Args:
            request: Not used: how a round trains stands in the project's settings.
            datastore: Not used: what a round trains on is accepted masks of the split train.

        Raises:
            ValueError: If there is nothing to train on, or the round failed or was cancelled.
        """
        return self._run()
