"""Our own ASGI app around `LungApp`: MONAI Label's protocol on vetted routes, and the web pages.

Nothing blocks the event loop: short calls run in the thread pool, inference in workers of its own, so that
`/info/` answers while a scan is being segmented.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from datastore.database import RegistryError
from datastore.registry import UnknownCaseError
from datastore.served_images import CaseImageError
from lungapp import __version__
from lungapp.app import LungApp
from lungapp.pages import pages_router
from lungapp.slicer_api import slicer_router

logger = logging.getLogger(__name__)


def create_app(app: LungApp) -> FastAPI:
    """The ASGI application that serves a project."""
    workers = app.project.settings.server.inference_workers
    inference = ThreadPoolExecutor(workers, thread_name_prefix="inference")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        app.cleanup_sessions()
        yield
        inference.shutdown(wait=False, cancel_futures=True)
        app.registry.close()

    server = FastAPI(title=app.name, version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    # A page from elsewhere that makes this machine's name resolve to 127.0.0.1 gets nothing.
    server.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])
    for error, status in (
        (UnknownCaseError, 404),
        (CaseImageError, 404),
        (ValueError, 400),
        (RegistryError, 503),
        (OSError, 507),
    ):
        server.add_exception_handler(error, _one_line(status))
    server.include_router(slicer_router(app, inference))
    server.include_router(pages_router(app))
    return server


def _one_line(status: int) -> Callable[[Request, Exception], JSONResponse]:
    def answer(request: Request, error: Exception) -> JSONResponse:
        detail = " ".join(str(error).split())
        logger.warning("%s %s: %s", request.method, request.url.path, detail, exc_info=status >= 500)
        return JSONResponse({"detail": detail}, status_code=status)

    return answer
