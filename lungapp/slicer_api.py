"""MONAI Label's protocol, as the unchanged 3D Slicer plug-in and MONAI Label's client class speak it.

Besides training (`train_api.py`) and scoring (`scoring_api.py`), only these routes exist: no reload, no raw proxy, no
upload or removal of images, no request field that names a path on the server. Route by route the answers are those of
MONAI Label 0.8.5, but for refusals, which are 4xx with one line of reason.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.responses import FileResponse, JSONResponse, Response
from monailabel.utils.others.generic import get_mime_type
from requests_toolbelt import MultipartEncoder

from datastore.image_files import suffix_of
from datastore.submission import refused_uploads_kept
from lungapp.app import LungApp
from lungapp.train_api import Submissions, host_of

INFER_FIELDS = ("result_extension", "result_dtype", "client_id")


def slicer_router(app: LungApp, inference: Executor, submissions: Submissions) -> APIRouter:
    """The routes; `inference` runs what takes long, `submissions` hears of each."""
    router = APIRouter()
    datastore = app.datastore()
    uploads = app.project.cache / "uploads"

    @router.get("/auth/")
    def auth() -> dict[str, Any]:
        return {"enabled": False}

    @router.get("/info/")
    def info() -> dict[str, Any]:
        return app.info()

    @router.post("/activelearning/{strategy}")
    def next_sample(strategy: str, params: Annotated[dict[str, Any] | None, Body()] = None) -> dict[str, Any]:
        return app.next_sample({**(params or {}), "strategy": strategy})

    # Images

    @router.get("/datastore/")
    def overview(output: str = "stats") -> Any:
        answers: dict[str, Callable[[], Any]] = {
            "stats": datastore.status,
            "all": datastore.json,
            "train": datastore.finished,
        }
        if output not in answers:
            raise ValueError(f"output {output[:40]!r}: expected one of {', '.join(answers)}")
        return answers[output]()

    @router.get("/datastore/image")
    def image(image: str) -> FileResponse:
        case = datastore.case(image)
        path = app.images.path(case)
        return FileResponse(
            path,
            media_type=get_mime_type(str(path)),
            filename=app.images.name(case),
            headers={"X-Checksum-SHA256": app.images.checksum(case)},
        )

    @router.head("/datastore/image")
    def has_image(image: str, check_sum: str = "") -> Response:
        actual = app.images.checksum(datastore.case(image))
        if check_sum and check_sum.split(":")[-1].lower() != actual:
            raise HTTPException(404, f"image {image} has another checksum: SHA256:{actual}")
        return Response()

    @router.get("/datastore/image/info")
    def image_info(image: str) -> dict[str, Any]:
        return datastore.get_image_info(image)

    # Labels

    @router.put("/datastore/label")
    def save_label(
        request: Request,
        image: str,
        label: Annotated[UploadFile, File()],
        params: Annotated[str, Form()] = "{}",
        tag: str = "final",
    ) -> dict[str, Any]:
        case = datastore.case(image)
        with _received(uploads, label) as path:
            with refused_uploads_kept(app.registry, case.id, path):
                fields = _json_object(params)
            label_id = datastore.save_label(case.id, str(path), tag, fields)
        app.keep_lease(case.id, fields)
        submissions.note(host_of(request))
        app.on_save_label(image, label_id)
        return {"image": image, "label": label_id}

    @router.get("/datastore/label")
    def download_label(label: str, tag: str) -> FileResponse:
        path = datastore.label(label, tag).path
        return FileResponse(path, media_type=get_mime_type(str(path)), filename=path.name)

    @router.head("/datastore/label")
    def has_label(tag: str, image: str = "", label: str = "") -> Response:
        datastore.label(label or image, tag)
        return Response()

    @router.get("/datastore/label/info")
    def label_info(label: str, tag: str) -> dict[str, Any]:
        return datastore.get_label_info(label, tag)

    # Inference

    @router.post("/infer/{model}")
    async def infer(
        model: str,
        image: str = "",
        session_id: str = "",
        params: Annotated[str, Form()] = "{}",
        file: Annotated[UploadFile | None, File()] = None,
        output: Annotated[str, Query(pattern="^(|all|image|json)$")] = "",
    ) -> Response:
        fields = _json_object(params)
        request = {name: fields[name] for name in INFER_FIELDS if name in fields}

        def run() -> Response:
            with nullcontext() if file is None else _received(uploads, file) as upload:
                if session_id:
                    request["image"] = _session(app, session_id).image
                elif upload is not None:
                    request["image"] = str(upload)
                else:
                    request["image"] = datastore.case(image).id
                result = app.infer({**request, "model": model})
            return _mask_response(Path(result["file"]), result["params"], output)

        return await asyncio.get_running_loop().run_in_executor(inference, run)

    # Sessions: an image of the client's that is not in the project

    @router.put("/session/")
    def create_session(files: Annotated[list[UploadFile], File()], expiry: int = 0) -> dict[str, Any]:
        uploads.mkdir(parents=True, exist_ok=True)
        folder = uploads / secrets.token_hex(8)
        folder.mkdir()
        try:
            for number, upload in enumerate(files):
                target = folder / f"image-{number:05d}{_suffix(upload)}"
                with open(target, "wb") as file:
                    shutil.copyfileobj(upload.file, file)
            received = folder if len(files) > 1 else next(folder.iterdir())
            session_id, session = app.sessions().add_session(str(received), expiry)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return {"session_id": session_id, "session_info": _public(session)}

    @router.get("/session/{session_id}")
    def get_session(session_id: str) -> dict[str, Any]:
        return _public(_session(app, session_id))

    @router.delete("/session/{session_id}")
    def remove_session(session_id: str) -> dict[str, Any]:
        session = _session(app, session_id)
        app.sessions().remove_session(session_id)
        return _public(session)

    return router


def _json_object(params: str) -> dict[str, Any]:
    try:
        fields = json.loads(params or "{}")
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"params: expected a JSON object: {error}") from error
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise ValueError(f"params: expected a JSON object, got {type(fields).__name__}")
    return fields


@contextmanager
def _received(folder: Path, upload: UploadFile) -> Iterator[Path]:
    """An uploaded file on disk, under a name of ours, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{secrets.token_hex(8)}{_suffix(upload)}"
    try:
        with open(path, "wb") as file:
            shutil.copyfileobj(upload.file, file)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _suffix(upload: UploadFile) -> str:
    return suffix_of(Path(upload.filename or "")) or ".dcm"


def _session(app: LungApp, session_id: str) -> Any:
    try:
        known = str(UUID(session_id)) == session_id.lower()
    except ValueError:
        known = False
    session = app.sessions().get_session(session_id) if known else None
    if session is None:
        raise HTTPException(404, f"no session {session_id[:80]!r}")
    return session


def _public(session: Any) -> dict[str, Any]:
    """What a client may know of a session: no path of the server."""
    return {name: value for name, value in session.to_json().items() if name not in ("path", "image")}


def _mask_response(path: Path, params: dict[str, Any], output: str) -> Response:
    try:
        if output == "json":
            return JSONResponse(params)
        content = path.read_bytes()
    finally:
        path.unlink(missing_ok=True)
    media_type = get_mime_type(str(path))
    if output == "image":
        return Response(content, media_type=media_type)
    message = MultipartEncoder(
        fields={
            "params": (None, json.dumps(params), "application/json"),
            "image": (path.name, content, media_type),
        }
    )
    return Response(message.to_string(), media_type=message.content_type)
