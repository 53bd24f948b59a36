"""Our own ASGI app around `LungApp`: MONAI Label's protocol on vetted routes, and the web pages.

Nothing blocks the event loop: short calls run in the thread pool, inference in workers of its own, so that
`/info/` answers while a scan is being segmented.
"""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from datastore.database import RegistryError
from datastore.registry import LeaseError, UnknownCaseError
from datastore.served_images import CaseImageError
from lungapp import __version__
from lungapp.app import LungApp
from lungapp.lease_api import lease_router
from lungapp.pages import pages_router
from lungapp.rounds.supervisor import WorkerSupervisor
from lungapp.scoring_api import ScoringJobs, scoring_router
from lungapp.slicer_api import slicer_router
from lungapp.train_api import Submissions, train_router

LEFTOVER_SECONDS = 3600

logger = logging.getLogger(__name__)


def create_app(app: LungApp, supervisor: WorkerSupervisor | None = None) -> FastAPI:
    """The ASGI application that serves a project.

    Args:
        app: The project.
        supervisor: Keeps a worker running as long as the server does.
    """
    workers = app.project.settings.server.inference_workers
    inference = ThreadPoolExecutor(workers, thread_name_prefix="inference")
    scoring, jobs = ThreadPoolExecutor(1, thread_name_prefix="scoring"), ScoringJobs()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        app.cleanup_sessions()
        _forget_leftovers(app.project.cache)
        if supervisor is not None:
            supervisor.start()
        yield
        if supervisor is not None:
            supervisor.stop()
        inference.shutdown(wait=False, cancel_futures=True)
        jobs.stop()
        scoring.shutdown(wait=True)
        app.finish_checks()
        app.registry.close()

    server = FastAPI(title=app.name, version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    # A page from elsewhere that makes this machine's name resolve to 127.0.0.1 gets nothing.
    server.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])
    for error, status in (
        (UnknownCaseError, 404),
        (CaseImageError, 404),
        (LeaseError, 409),
        (ValueError, 400),
        (RegistryError, 503),
    ):
        server.add_exception_handler(error, _one_line(status))
    server.add_exception_handler(OSError, _disk)
    server.add_exception_handler(RequestValidationError, _bad_request)
    submissions = Submissions()
    server.include_router(slicer_router(app, inference, submissions))
    server.include_router(train_router(app, submissions))
    server.include_router(scoring_router(app, jobs, scoring))
    server.include_router(lease_router(app))
    server.include_router(pages_router(app))
    return server


def _bad_request(_: Request, error: Exception) -> JSONResponse:
    """The first thing that is wrong with a request's fields."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": str(error)}
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return JSONResponse({"detail": f"{field}: {first['msg']}"}, status_code=422)


def _disk(request: Request, error: Exception) -> JSONResponse:
    """The disk's own word, without the path."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    logger.error("%s %s", request.method, request.url.path, exc_info=error)
    reason = getattr(error, "strerror", None) or type(error).__name__
    return JSONResponse({"detail": f"the server's disk: {reason}"}, status_code=507 if full else 500)


def _forget_leftovers(cache: Path) -> None:
    """Uploads and results that a killed server left behind."""
    for path in (*(cache / "uploads").glob("*"), *(cache / "results").glob("*")):
        if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _one_line(status: int) -> Callable[[Request, Exception], JSONResponse]:
    def answer(request: Request, error: Exception) -> JSONResponse:
        detail = " ".join(str(error).split())
        logger.warning("%s %s: %s", request.method, request.url.path, detail, exc_info=status >= 500)
        return JSONResponse({"detail": detail}, status_code=status)

    return answer
