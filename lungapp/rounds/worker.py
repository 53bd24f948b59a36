"""The worker: takes up what is to do, one round at a time, and never beside another worker of the project."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from datastore.database import RegistryError
from datastore.registry import Registry, RoundError
from datastore.round_records import RoundState
from lungapp.project import Project
from lungapp.rounds.folders import put_aside
from lungapp.rounds.following import outcome_text
from lungapp.rounds.lock import BRIEFLY_SECONDS, WorkerLock
from lungapp.rounds.queueing import queue_if_due
from lungapp.rounds.round_log import logged_to
from lungapp.rounds.steps import ProjectSteps
from lungapp.rounds.watch import WORKER
from lungapp.rounds.workflow import RoundWorkflow, Steps

LOOK_SECONDS = 1.0  # between two looks for something to do
AWAY_SECONDS = 5.0  # until a registry that cannot be used is tried again
MOST_ATTEMPTS = 10  # then a round that never gets on has failed
LOG_FILE, CHECKPOINT_FILE = "log.txt", "checkpoint.pt"

logger = logging.getLogger(__name__)


class RoundWorker:
    """Runs the rounds of a project until it is told to stop.

    Args:
        project: The project.
        stopping: Set to stop it; a training writes a checkpoint first.
        say: Prints a line for people.
        make_steps: Gives what a round does.
    """

    def __init__(
        self,
        project: Project,
        stopping: threading.Event,
        say: Callable[[str], object] = lambda _: None,
        make_steps: Callable[[Project, Registry], Steps] = ProjectSteps,
    ) -> None:
        self._project = project
        self._stopping = stopping
        self._say = say
        self._make_steps = make_steps

    def run(self, *, until_idle: bool = False) -> None:
        """Work, or wait for another worker to go.

        Args:
            until_idle: Return as soon as nothing is to do, or another worker is there to do it.
        """
        lock = WorkerLock(self._project.rounds)
        registry = self._project.registry()
        try:
            while self._acquire(lock, until_idle):
                try:
                    self._work(registry, until_idle)
                finally:
                    lock.release()
                # what came in after the last look came from somebody who saw the lock held, and relies on this worker
                if self._stopping.is_set() or not _has_work(registry):
                    return
        finally:
            registry.close()

    def _acquire(self, lock: WorkerLock, until_idle: bool) -> bool:
        """Wait for the lock; False if the worker is to stop, or another one does what is to do."""
        deadline = time.monotonic() + BRIEFLY_SECONDS
        waits = False
        while not lock.acquire():
            if until_idle and time.monotonic() > deadline:
                return False
            if not (until_idle or waits):
                self._say(f"another worker is at work ({lock.holder()}): waiting to take its place")
                waits = True
            if self._stopping.wait(LOOK_SECONDS if waits else 0.1):
                return False
        lock.sign()
        return True

    def _work(self, registry: Registry, until_idle: bool) -> None:
        steps = self._make_steps(self._project, registry)
        workflow = RoundWorkflow(self._project.workflow_url, registry, steps, self._stopping)
        try:
            while not self._stopping.is_set():
                try:
                    if self._do_something(registry, workflow):
                        continue
                    pause = LOOK_SECONDS
                except RegistryError as error:
                    logger.warning("%s", error)
                    self._say(f"waiting: {error}")
                    self._stopping.wait(AWAY_SECONDS)
                    pause = 0.0
                if until_idle:
                    return
                self._stopping.wait(pause)
        finally:
            workflow.close()

    def _do_something(self, registry: Registry, workflow: RoundWorkflow) -> bool:
        """Go on with the round at work, else begin the next one, else make masks anew; False if there is none of it."""
        try:
            queue_if_due(self._project, registry, WORKER)
        except ValueError as error:  # somebody is at the settings
            logger.warning("%s", error)
        to_do = registry.active_round() or registry.waiting_round()
        if to_do is not None:
            self._go_on(registry, workflow, to_do.number)
            return True
        outdated = registry.round_to_refresh()
        if outdated is None:
            return False
        if workflow.run(outdated.number) and registry.round_to_refresh() is not None:
            workflow.refresh(outdated.number)  # its own was done as far as it could be
        return True

    def _go_on(self, registry: Registry, workflow: RoundWorkflow, number: int) -> None:
        try:
            begun = registry.begin_round(number, WORKER)
        except RoundError as error:  # it was cancelled just now
            logger.info("%s", error)
            return
        if begun.attempts > MOST_ATTEMPTS:
            step = begun.progress.get("step", "the first step")
            reason = f"{step}: given up after {MOST_ATTEMPTS} attempts that ended without a word"
            registry.end_round(number, RoundState.FAILED, decision=reason, by=WORKER)
            return
        self._say(f"round {number} is taken up: {begun.trigger}")
        folder = self._project.round_folder(number)
        put_aside(folder, begun)
        with logged_to(folder / LOG_FILE):
            logger.info("round %d is taken up: %s", number, begun.trigger)
            try:
                workflow.run(number)
            finally:
                ended = registry.round(number)
                if not ended.has_ended:
                    ended = registry.pause_round(number, WORKER)
                logger.info("round %d: %s", number, outcome_text(ended))
        if ended.has_ended:
            (folder / CHECKPOINT_FILE).unlink(missing_ok=True)  # nothing goes on with it
        self._say(f"round {number}: {outcome_text(ended)}")


def _has_work(registry: Registry) -> bool:
    try:
        return registry.active_round() is not None or registry.waiting_round() is not None
    except RegistryError:
        return False
