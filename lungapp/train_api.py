"""Training over HTTP, as MONAI Label 0.8.5 answers it; all that is told is read from the registry."""

from __future__ import annotations

import threading
import time
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Request

from datastore.registry import LOCAL
from lungapp.app import LungApp
from lungapp.rounds.lock import WorkerLock
from lungapp.rounds.queueing import NothingToTrainOnError, cancel, queue_now, settle
from lungapp.rounds.train_stats import TRAINER, as_task, under_way

TRIGGER = "Train button"
AUTOMATIC_SECONDS = 3.0  # within which 3D Slicer's automatic training asks for a stop after a submission


class Submissions:
    """When a machine last submitted a mask.

    With its automatic training switched on, 3D Slicer stops whatever runs after each submission and asks for a new
    training. Rounds start by themselves, and a submission never stops one.
    """

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def note(self, host: str) -> None:
        """A mask came from a machine."""
        now = time.monotonic()
        with self._lock:
            recent = {name: moment for name, moment in self._last.items() if now - moment < AUTOMATIC_SECONDS}
            self._last = {**recent, host: now}

    def is_recent(self, host: str) -> bool:
        """Whether one came just now."""
        with self._lock:
            moment = self._last.get(host)
        return moment is not None and time.monotonic() - moment < AUTOMATIC_SECONDS


def host_of(request: Request) -> str:
    """The machine that a request comes from."""
    return request.client.host if request.client else ""


def train_router(app: LungApp, submissions: Submissions) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/train")
    registry = app.registry

    @router.get("/")
    def status(all: bool = False, check_if_running: bool = False) -> Any:
        """The round under way, else the newest, or all; 404 if there is none, or none is under way."""
        if all and not check_if_running:
            return [as_task(each) for each in registry.rounds()]
        settle(app.project, registry)
        shown = under_way(registry) or (None if check_if_running else registry.newest_round())
        if shown is None:
            raise HTTPException(404, "no training is running" if check_if_running else "nothing was trained yet")
        task = as_task(shown)
        if not shown.has_ended and WorkerLock(app.project.rounds).is_free():
            task["details"].append("no worker is running: `lungapp worker` does the work")
        return task

    @router.post("/{model}")
    def train(model: str, params: Annotated[dict[str, Any] | None, Body()] = None) -> dict[str, Any]:
        """Queue a round; 404 without such a trainer, 409 with nothing to train on, 429 if one is under way."""
        if model != TRAINER:
            raise HTTPException(404, f"no trainer {model[:80]!r}: expected {TRAINER}")
        before = under_way(registry)
        try:
            made = None if before else queue_now(app.project, registry, TRIGGER)
        except NothingToTrainOnError as error:
            raise HTTPException(409, str(error)) from error
        if made is None:
            which = "a round" if before is None else f"round {before.number}"
            raise HTTPException(429, f"training is running already: {which} is {before.state if before else 'queued'}")
        return as_task(made)

    @router.post("/")
    def train_all(params: Annotated[dict[str, Any] | None, Body()] = None) -> dict[str, Any]:
        """The same for every trainer, of which there is one."""
        return {TRAINER: {"result": train(TRAINER), "detail": None}}

    @router.delete("/")
    def stop(request: Request) -> dict[str, Any]:
        """Cancel the round at work, else the one in line; `{}` if there is none, 409 just after a submission."""
        shown = under_way(registry)
        if shown is None:
            return {}
        if submissions.is_recent(host_of(request)):
            raise HTTPException(
                409,
                f"round {shown.number} goes on: a mask was submitted just now, and 3D Slicer's automatic training does "
                "not stop a round; ask again in a few seconds to stop it",
            )
        return {**as_task(cancel(app.project, registry, shown.number, LOCAL)), "status": "STOPPED"}

    return router
