"""Keeps a worker running beside a server, and takes it down with it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from datastore.database import RegistryError
from datastore.registry import Registry
from lungapp.project import Project
from lungapp.rounds.lock import WorkerLock
from lungapp.rounds.queueing import settle

GIVE_WAY = 10  # of niceness
WORKER_LOG = "worker.log"  # of workers that `lungapp retrain` started
FIRST_PAUSE_SECONDS = 1.0  # before a worker that died is started again; doubled each time
LONGEST_PAUSE_SECONDS = 60.0
HEALTHY_SECONDS = 60.0  # a worker that lived so long begins with the first pause again
GRACE_SECONDS = 10.0  # for a checkpoint; a worker that takes longer is killed, and loses nothing but time

logger = logging.getLogger(__name__)


def give_way(process: int) -> None:
    """Let everything else on the machine go before a process of that number: whoever waits for a mask comes first."""
    with suppress(ProcessLookupError):  # it has ended already
        niceness = max(GIVE_WAY, os.getpriority(os.PRIO_PROCESS, process))
        os.setpriority(os.PRIO_PROCESS, process, niceness)


def worker_command(project: Project, *options: str) -> list[str]:
    """What is typed to start a worker."""
    return [sys.executable, "-m", "lungapp", "worker", "-p", str(project.folder), *options]


def start_once(project: Project) -> bool:
    """Start a worker that ends when nothing is left to do, unless one is there; whether it was started.

    It outlives this process.
    """
    if not WorkerLock(project.rounds).is_free_soon():
        return False
    with open(project.rounds / WORKER_LOG, "ab") as log:
        started = subprocess.Popen(
            worker_command(project, "--until-idle"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    give_way(started.pid)
    return True


def supervisor_of(project: Project, registry: Registry) -> WorkerSupervisor | None:
    """What keeps a worker beside a project's server; None if the project does not want one there."""
    return WorkerSupervisor(project, registry) if project.settings.rounds.worker else None


class WorkerSupervisor:
    """Runs one worker process, and another one when it dies.

    The worker ends with this process even if that is killed: it reads from a pipe that closes then.

    Args:
        project: The project.
        registry: Of the project.
        command: What to run in place of a worker.
    """

    def __init__(self, project: Project, registry: Registry, command: Sequence[str] | None = None) -> None:
        self._project = project
        self._registry = registry
        self._command = list(command or worker_command(project, "--until-stdin-closes"))
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._worker: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_one, name="worker-supervisor", daemon=True)

    def start(self) -> None:
        """Start the worker."""
        self._thread.start()

    def stop(self) -> None:
        """End the worker; it writes a checkpoint if it is training."""
        with self._starting:
            self._stopping.set()
            worker = self._worker
        if worker is not None:
            worker.terminate()
            try:
                worker.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()
        self._thread.join()

    @property
    def process_id(self) -> int | None:
        """Of the worker, or None while there is none."""
        worker = self._worker
        return None if worker is None or worker.poll() is not None else worker.pid

    def _keep_one(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            code = self._run_one()
            if self._stopping.is_set():
                break
            if time.monotonic() - began >= HEALTHY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            logger.warning("the worker ended with code %s: another one is started in %.0f s", code, pause)
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _run_one(self) -> int | None:
        try:
            with self._starting:
                if self._stopping.is_set():
                    return None
                self._worker = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
                give_way(self._worker.pid)
        except OSError as error:
            logger.error("no worker could be started: %s", error)
            return None
        with self._worker as worker:
            code = worker.wait()
        try:
            settle(self._project, self._registry)
        except (RegistryError, OSError) as error:
            logger.warning("%s", error)
        return code
