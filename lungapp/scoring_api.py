"""Scoring over HTTP, as MONAI Label 0.8.5 answers it, in a thread of its own: nothing else waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Body, HTTPException

from lungapp.app import LungApp
from lungapp.scoring import Score

TIME = "%Y-%m-%d %H:%M:%S"
REMEMBERED = 20
UNDER_WAY = ("SUBMITTED", "RUNNING")

logger = logging.getLogger(__name__)


@dataclass
class ScoringJob:
    """One run of a scoring method; its thread writes here, and whoever asks reads.

    Attributes:
        method: Its name.
        id: Of the job.
        status: `SUBMITTED`, `RUNNING`, `DONE`, `ERROR` or `STOPPED`.
        start_ts: When it was asked for.
        end_ts: When it ended, or None.
        details: What went wrong, in one line; else empty.
        result: Scores by case; None until it ended.
        stop: Set to stop it before the next case.
    """

    method: str
    id: str = field(default_factory=lambda: str(uuid4()))
    status: str = "SUBMITTED"
    start_ts: str = field(default_factory=lambda: datetime.now().strftime(TIME))
    end_ts: str | None = None
    details: tuple[str, ...] = ()
    result: Mapping[str, Score] | None = None
    stop: Event = field(default_factory=Event)

    def run(self, app: LungApp) -> None:
        """Score all cases."""
        self.status = "RUNNING"
        try:
            self.result = app.scoring_methods[self.method]({}, app.datastore(), self.stop.is_set)
            self.status = "STOPPED" if self.stop.is_set() else "DONE"
        except Exception as error:  # it is told to whoever asks how the job went
            logger.exception("scoring %s failed", self.method)
            self.details, self.status = (f"{type(error).__name__}: {' '.join(str(error).split())}",), "ERROR"
        self.end_ts = datetime.now().strftime(TIME)

    def to_dict(self) -> dict[str, Any]:
        """As MONAI Label tells it, and the result, which it only logs."""
        plain: dict[str, Any] = {"id": self.id, "status": self.status, "request": {"method": self.method}}
        plain |= {"start_ts": self.start_ts, "details": list(self.details)}
        plain |= {} if self.end_ts is None else {"end_ts": self.end_ts}
        return plain if self.result is None else {**plain, "result": self.result}


class ScoringJobs:
    """The jobs of a server: one at a time, the last ones remembered."""

    def __init__(self) -> None:
        self._jobs: deque[ScoringJob] = deque(maxlen=REMEMBERED)

    def add(self, method: str) -> ScoringJob:
        """A new job.

        Raises:
            HTTPException: 429 if one is under way.
        """
        if self.under_way is not None:
            raise HTTPException(429, "scoring is running already")
        self._jobs.append(ScoringJob(method))
        return self._jobs[-1]

    @property
    def under_way(self) -> ScoringJob | None:
        """The job that has not ended, or None."""
        return next((job for job in self._jobs if job.status in UNDER_WAY), None)

    @property
    def newest(self) -> ScoringJob | None:
        """The last job, or None."""
        return self._jobs[-1] if self._jobs else None

    @property
    def all(self) -> list[ScoringJob]:
        """Those that are remembered, the oldest first."""
        return list(self._jobs)

    def stop(self) -> ScoringJob | None:
        """Stop the job that is under way; None if there is none."""
        job = self.under_way
        if job is not None:
            job.stop.set()
        return job


def scoring_router(app: LungApp, jobs: ScoringJobs, worker: Executor) -> APIRouter:
    """The routes; `worker` runs one job at a time."""
    router = APIRouter(prefix="/scoring")

    @router.get("/")
    async def status(all: bool = False, check_if_running: bool = False) -> Any:
        """The newest job, or all; 404 if there is none, or none is under way."""
        shown = jobs.under_way if check_if_running else jobs.newest
        if shown is None:
            raise HTTPException(404, f"no scoring is {'running' if check_if_running else 'known'}")
        return [job.to_dict() for job in jobs.all] if all and not check_if_running else shown.to_dict()

    @router.post("/{method}")
    async def run(
        method: str, run_sync: bool = False, params: Annotated[dict[str, Any] | None, Body()] = None
    ) -> dict[str, Any]:
        """Begin a job, and with `run_sync` wait for its scores; 404 without such a method, 429 if one is running."""
        if method not in app.scoring_methods:
            known = ", ".join(app.scoring_methods)
            raise HTTPException(404, f"no scoring method {method[:80]!r}: expected one of {known}")
        job = jobs.add(method)
        ending = asyncio.get_running_loop().run_in_executor(worker, job.run, app)
        if not run_sync:
            return job.to_dict()
        await asyncio.shield(ending)  # a client that goes away does not stop it
        if job.result is None:
            raise HTTPException(500, job.details[0])
        return dict(job.result)

    @router.delete("/")
    async def stop() -> dict[str, Any] | None:
        """Stop the job that is under way, if there is one; it ends after the case that it is at."""
        job = jobs.stop()
        return None if job is None else {**job.to_dict(), "status": "STOPPED"}

    return router
