"""The web pages: what this server is, its cases with a picture each, and how to connect 3D Slicer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse
from jinja2 import Environment, FileSystemLoader, select_autoescape

from datastore.atomic import write_bytes
from datastore.image_files import read_mask
from datastore.records import Status
from datastore.registry import CaseFilter
from lungapp import __version__
from lungapp.app import LungApp
from lungapp.previews import preview

CASES_PER_PAGE = 24


def pages_router(app: LungApp) -> APIRouter:
    """The pages of a project."""
    router = APIRouter(include_in_schema=False)
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=select_autoescape()
    )

    @router.get("/")
    def home(request: Request, page: Annotated[int, Query(ge=1)] = 1, status: Status | None = None) -> HTMLResponse:
        counts = app.registry.counts()
        shown = counts.total if status is None else counts.by_status.get(status, 0)
        pages = max(1, -(-shown // CASES_PER_PAGE))
        page = min(page, pages)
        which = CaseFilter(statuses=() if status is None else (status,))
        cases = app.registry.cases(which, limit=CASES_PER_PAGE, offset=(page - 1) * CASES_PER_PAGE)
        html = templates.get_template("home.html").render(
            project=app.project,
            version=__version__,
            address=str(request.base_url).rstrip("/"),
            counts=counts,
            statuses=list(Status),
            status=status,
            cases=cases,
            page=page,
            pages=pages,
            models=list(app.info()["models"]),
        )
        return HTMLResponse(html)

    @router.get("/cases/{case_id}/preview.png")
    def picture(case_id: str) -> FileResponse:
        case = app.datastore().case(case_id)
        label = app.registry.best_label(case.id)
        path = app.project.cache / "previews" / f"{label.id if label else case.id}.png"
        if not path.exists():
            image = app.images.read(case)
            mask = None if label is None or not label.path.exists() else read_mask(label.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, preview(image, mask), overwrite=True)
        return FileResponse(path, media_type="image/png", headers={"Cache-Control": "no-cache"})

    return router
