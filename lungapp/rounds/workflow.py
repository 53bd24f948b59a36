"""A round as a durable workflow: DBOS keeps which of its steps are done, so that a killed one goes on where it was.

The registry says which rounds there are and what became of them. What is kept here only saves repeating steps: each may
be repeated all the same, and without `rounds.sqlite` a round goes on from what lies in its folder.
"""

from __future__ import annotations

import itertools
import json
import threading
from typing import Any

from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowID

from datastore.database import DATABASE_AWAY, DATABASE_ERROR, RegistryError
from datastore.registry import Registry
from datastore.round_records import Round
from datastore.wording import first_line
from lungapp.rounds.performing import CANCELLED, DONE, FAILED, Performer, Steps
from lungapp.rounds.watch import STEPS, WORKER, InterruptedRound

VERSION = "rounds-1"  # of the order of the steps: another one begins its rounds at the first step, which finds its work
FINISHED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
BEGIN_SECONDS = 60.0  # within which what was started has to begin


class RoundWorkflow:
    """Runs rounds, one at a time; one object in a process.

    Args:
        url: Of the database that keeps which steps are done.
        registry: Of the project.
        steps: What a round does.
        stopping: Set when the worker is to stop.
    """

    def __init__(self, url: str, registry: Registry, steps: Steps, stopping: threading.Event) -> None:
        self._url = url
        self._registry = registry
        self._performer = Performer(registry, steps, stopping)
        self._begun = threading.Event()  # both set by the thread of the workflow, the second however it ends
        self._over = threading.Event()
        self._identity = ""  # of the round that is run; what else the database of steps holds is left alone
        self._run: Any = None

    def run(self, number: int) -> bool:
        """Bring a round to its end, from wherever it is.

        Args:
            number: Of a round that was begun.

        Returns:
            Whether it is at its end; False if the worker is to stop.

        Raises:
            RegistryError: If the registry is away, or the disk is full: the round is to be gone on with later.
            ValueError: If the database of steps cannot be used.
        """
        which = self._registry.round(number)
        self._begun.clear()
        self._over.clear()
        self._performer.begin()
        try:
            self._launch(which)
            self._start(number)
        except DATABASE_ERROR as error:
            self.close()
            raise RegistryError(f"the steps that are done cannot be looked up: {first_line(error)}") from error
        if not self._over.is_set() and not self._begun.wait(BEGIN_SECONDS):
            self.close()
            raise RegistryError("the steps of the round could not be begun")
        self._over.wait()
        if not self._performer.interrupted.is_set():
            return True
        self.close()  # the next launch takes it up again
        if self._performer.trouble is not None:
            raise RegistryError(self._performer.trouble)
        return False

    def _start(self, number: int) -> None:
        """Start a round's workflow, unless the launch did; what is finished without a result is done once more."""
        for again in itertools.count():
            identity = f"{self._identity}-{again}"
            status = DBOS.get_workflow_status(identity)
            if status is None or status.status not in FINISHED:
                break
            if self._registry.round(number).has_ended:
                self._over.set()
                return
        with SetWorkflowID(identity):
            DBOS.start_workflow(self._run, number, self._identity)

    def refresh(self, number: int) -> None:
        """Go on making masks anew after a round's workflow has ended, because another round had come between.

        Raises:
            RegistryError: See `run`.
        """
        self._performer.begin()
        try:
            if self._performer.perform(STEPS[-1], number)["outcome"] == FAILED:
                self._registry.mark_refreshed(number, WORKER)  # as far as it can be
        except InterruptedRound:
            if self._performer.trouble is not None:
                raise RegistryError(self._performer.trouble) from None

    def close(self) -> None:
        """Stop; what is not done is gone on with by the next launch."""
        if self._run is not None:
            DBOS.destroy(destroy_registry=True)
            self._run = None

    def _launch(self, which: Round) -> None:
        self._identity = _identity(which)
        if self._run is not None:
            return
        config: DBOSConfig = {
            "name": "lungapp",
            "system_database_url": self._url,
            "application_version": VERSION,
            "executor_id": WORKER,
            "log_level": "ERROR",
            "enable_otlp": False,  # nothing is told to anybody
            "use_listen_notify": False,
            "sys_db_pool_size": 5,
            "serializer": JsonSerializer(),
        }
        DBOS(config=config)
        self._run = DBOS.workflow(name="round", max_recovery_attempts=None)(self._workflow())
        try:
            DBOS.launch()
        except DATABASE_AWAY:  # away, or the disk is full
            raise
        except Exception as error:
            self.close()
            raise ValueError(
                f"the steps that are done cannot be looked up: {first_line(error)}; rounds.sqlite may be removed: "
                "rounds then go on from what lies in their folders"
            ) from error

    def _workflow(self) -> Any:
        def round_steps(number: int, identity: str) -> None:
            if identity != self._identity:
                return  # of another round: ended without a worker, or of a registry that was brought back since
            self._begun.set()
            try:
                in_order(number)
            except InterruptedRound:
                raise
            except BaseException as error:  # what was done could not be kept: a full disk, or PostgreSQL is away
                self._performer.trouble = f"which steps are done could not be kept: {first_line(error)}"
                self._performer.interrupted.set()
                raise
            finally:
                self._over.set()

        def in_order(number: int) -> None:
            for step in STEPS[:-1]:
                outcome = DBOS.run_step({"name": step}, self._performer.perform, step, number)
                if outcome["outcome"] in (CANCELLED, FAILED):
                    DBOS.run_step({"name": "end"}, self._performer.end, number, outcome["outcome"], outcome["reason"])
                if outcome["outcome"] != DONE:
                    break
            DBOS.run_step({"name": STEPS[-1]}, self._performer.perform, STEPS[-1], number)

        return round_steps


class JsonSerializer(Serializer):
    """Keeps plain values as JSON: DBOS's own format is pickle, which could run code."""

    def serialize(self, data: Any) -> str:
        """As JSON; an error, which should not come here, as its words."""
        return json.dumps(data, default=str)

    def deserialize(self, serialized_data: str) -> Any:
        """From JSON."""
        return json.loads(serialized_data)

    def name(self) -> str:
        """Of the format."""
        return "lungapp_json"


def _identity(which: Round) -> str:
    """Names a round's workflow: a restored project may give a number a second time."""
    return f"{VERSION}-{which.number:04d}-{which.queued_at:%Y%m%dT%H%M%S%f}"
