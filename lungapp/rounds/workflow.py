"""A round as a durable workflow: DBOS keeps which of its steps are done, so that a killed one goes on where it was.

The registry says which rounds there are and what became of them. What is kept here only saves repeating steps: each may
be repeated all the same, and without `rounds.sqlite` a round goes on from what lies in its folder.
"""

from __future__ import annotations

import json
import logging
import threading
from typing import Any, Protocol

from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowID

from datastore.database import RegistryError
from datastore.registry import Registry
from datastore.round_records import Round, RoundState
from datastore.wording import first_line
from lungapp.rounds.watch import STEPS, WORKER, InterruptedRound, RoundCancelledError, Watch

VERSION = "rounds-1"  # of the order of the steps: another one begins its rounds at the first step, which finds its work
DONE, OVER, CANCELLED, FAILED = "done", "over", "cancelled", "failed"
FINISHED = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
LOOK_SECONDS = 0.3

logger = logging.getLogger(__name__)


class Steps(Protocol):
    """What a round does; each may be called again after it was killed at any moment, or when it is done."""

    def snapshot(self, number: int, watch: Watch) -> None:
        """Settle what to train and to judge on."""

    def cache(self, number: int, watch: Watch) -> None:
        """Prepare the training slices."""

    def train(self, number: int, watch: Watch) -> None:
        """Make the candidate."""

    def judge(self, number: int, watch: Watch) -> None:
        """Compare it with the model that serves."""

    def publish(self, number: int, watch: Watch) -> None:
        """Publish it or hold it back, and say so in the registry."""

    def refresh(self, number: int, watch: Watch) -> None:
        """Make the preliminary masks of open cases anew."""


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
        self._steps = steps
        self._stopping = stopping
        self._interrupted = threading.Event()
        self._run: Any = None

    def run(self, number: int) -> bool:
        """Bring a round to its end, from wherever it is.

        Args:
            number: Of a round that was begun.

        Returns:
            Whether it is at its end; False if the worker is to stop, or the registry was away.

        Raises:
            RegistryError: If the registry is away between two steps.
            ValueError: If the database of steps cannot be used.
        """
        self._launch()
        self._interrupted.clear()
        identity = _identity(self._registry.round(number))
        with SetWorkflowID(identity):
            DBOS.start_workflow(self._run, number)  # one that is known already is only waited for
        while (status := DBOS.get_workflow_status(identity)) is None or status.status not in FINISHED:
            if self._interrupted.wait(LOOK_SECONDS):
                self.close()  # the next launch takes it up again
                return False
        if not self._registry.round(number).has_ended:
            reason = "its workflow ended without a result"
            self._registry.end_round(number, RoundState.FAILED, decision=reason, by=WORKER)
        return True

    def refresh(self, number: int) -> None:
        """Go on making masks anew after a round's workflow has ended, because another round had come between."""
        try:
            if self._perform(STEPS[-1], number)["outcome"] == FAILED:
                self._registry.mark_refreshed(number, WORKER)  # as far as it can be
        except InterruptedRound:
            logger.info("round %d: open cases are gone on with later", number)

    def close(self) -> None:
        """Stop; what is not done is gone on with by the next launch."""
        if self._run is not None:
            DBOS.destroy(destroy_registry=True)
            self._run = None

    def _launch(self) -> None:
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
        except Exception as error:
            self.close()
            raise ValueError(
                f"the steps that are done cannot be looked up: {first_line(error)}; rounds.sqlite may be removed: "
                "rounds then go on from what lies in their folders"
            ) from error

    def _workflow(self) -> Any:
        def round_steps(number: int) -> None:
            for step in STEPS[:-1]:
                outcome = DBOS.run_step({"name": step}, self._perform, step, number)
                if outcome["outcome"] in (CANCELLED, FAILED):
                    DBOS.run_step({"name": "end"}, self._end, number, outcome["outcome"], outcome["reason"])
                if outcome["outcome"] != DONE:
                    break
            DBOS.run_step({"name": STEPS[-1]}, self._perform, STEPS[-1], number)

        return round_steps

    def _perform(self, step: str, number: int) -> dict[str, str]:
        """Do a step; what became of it as plain values, for DBOS to keep."""
        watch = Watch(self._registry, number, step, self._stopping)
        try:
            if step == STEPS[-1]:
                watch.report()
                self._steps.refresh(number, watch)
                self._check_worker()
                return {"outcome": DONE, "reason": ""}
            if self._registry.round(number).has_ended:
                return {"outcome": OVER, "reason": ""}
            watch.check()
            watch.report()
            getattr(self._steps, step)(number, watch)
            if not self._registry.round(number).has_ended:
                watch.check()  # whatever a step makes of being stopped: it is not done then
            return {"outcome": DONE, "reason": ""}
        except RoundCancelledError:
            return {"outcome": CANCELLED, "reason": ""}
        except InterruptedRound:
            self._interrupted.set()
            raise
        except RegistryError as error:
            raise self._away(number, error) from error
        except Exception as error:
            self._check_worker()
            if watch.is_cancelled():
                return {"outcome": CANCELLED, "reason": ""}
            logger.exception("round %d: step %s failed", number, step)
            return {"outcome": FAILED, "reason": f"{step}: {first_line(error)}"}

    def _end(self, number: int, state: str, reason: str) -> None:
        """Note an end in the registry, unless the round has one."""
        try:
            if not self._registry.round(number).has_ended:
                self._registry.end_round(number, RoundState(state), decision=reason or None, by=WORKER)
        except RegistryError as error:
            raise self._away(number, error) from error

    def _check_worker(self) -> None:
        if self._stopping.is_set():
            self._interrupted.set()
            raise InterruptedRound

    def _away(self, number: int, error: RegistryError) -> InterruptedRound:
        """A registry that cannot be used fails no round: it is gone on with when it is back."""
        logger.warning("round %d is interrupted: %s", number, error)
        self._interrupted.set()
        return InterruptedRound()


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
