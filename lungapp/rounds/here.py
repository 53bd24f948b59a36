"""A round from beginning to end within this process, where no worker is there to run it: for the stock server."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from datastore.registry import Registry
from datastore.round_records import Round, RoundState
from lungapp.project import Project
from lungapp.rounds.following import LOOK_SECONDS, progress_text
from lungapp.rounds.queueing import queue_now
from lungapp.rounds.train_stats import train_stats, under_way

logger = logging.getLogger(__name__)


def train_here(project: Project, registry: Registry, trigger: str) -> dict[str, Any]:
    """Queue a round, or take the one that is under way, and stay until it has ended.

    A worker of the project does the work if there is one; else this process is the worker.

    Returns:
        The statistics of the round.

    Raises:
        ValueError: If there is nothing to train on, or the round failed or was cancelled.
    """
    from lungapp.rounds.worker import RoundWorker  # no server needs it

    wanted = under_way(registry) or queue_now(project, registry, trigger) or under_way(registry)
    if wanted is None:
        raise ValueError("no round could be queued")
    worker = RoundWorker(project, threading.Event(), logger.info)
    said = ""
    while not (seen := registry.round(wanted.number)).has_ended:
        if (now := progress_text(seen)) != said:
            logger.info("round %d: %s", seen.number, said := now)
        worker.run(until_idle=True)  # returns at once while another worker is there
        time.sleep(LOOK_SECONDS)
    _check(seen)
    return train_stats(registry)


def _check(ended: Round) -> None:
    if ended.state in (RoundState.FAILED, RoundState.CANCELLED):
        raise ValueError(f"round {ended.number} {ended.state}" + (f": {ended.decision}" if ended.decision else ""))
