"""MONAI Label's `Datastore` over the registry: what the stock server and its clients see of a project.

Nothing here deletes or overwrites: calls that would are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from datastore.labels import LUNG_NAMES
from datastore.records import DONE, Case, Kind, Label, NewLabel, Status
from datastore.registry import CASE_ID, LABEL_ID, LOCAL, CaseFilter, Registry, UnknownCaseError
from datastore.registry.standing import LUNGS
from datastore.served_images import CaseImageError, ServedImages
from datastore.submission import refused_uploads_kept, submit_mask
from datastore.wording import printable

DRAFT = "draft"
TAGS = {  # what a label version was made as, by the tag under which clients ask for it
    DefaultLabelTag.ORIGINAL.value: (Kind.PRELIMINARY,),
    DefaultLabelTag.FINAL.value: (Kind.SUBMITTED, Kind.ACCEPTED),
    DRAFT: (Kind.DRAFT,),
}
FINISHED = CaseFilter(statuses=DONE)
UNFINISHED = CaseFilter(offered=True)


LONGEST_SECONDS = 7 * 24 * 3600.0

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


def spoken_as_http(method: Callable[P, R]) -> Callable[P, R]:
    """Turn a refusal into an HTTP error: the stock server answers 500 to anything else."""

    @wraps(method)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except (UnknownCaseError, CaseImageError) as error:
            raise HTTPException(status_code=404, detail=str(error)) from error
        except ValueError as error:
            raise HTTPException(status_code=400, detail=str(error)) from error

    return wrapper


class RegistryDatastore(Datastore):
    """A project's cases as images, its label versions as labels `original` and `final`."""

    def __init__(self, registry: Registry, images: ServedImages, name: str) -> None:
        self.registry = registry
        self.images = images
        self._name = name

    def name(self) -> str:
        """The project's name."""
        return self._name

    def set_name(self, name: str) -> None:
        """Refused: the name stands in lungapp.toml."""
        _refuse("the project's name stands in lungapp.toml")

    def description(self) -> str:
        """What this is."""
        return "lungapp project"

    def set_description(self, description: str) -> None:
        """Refused, as `set_name`."""
        _refuse("the project's description cannot be set over the network")

    def datalist(self) -> list[dict[str, Any]]:
        """Image and submitted mask of every finished case whose image can be had."""
        pairs = []
        for case_id, label_id in self.registry.finished(FINISHED):
            try:
                image = self.images.path(self.registry.case(case_id))
            except CaseImageError as error:
                logger.warning("%s: it is left out", error)
                continue
            pairs.append({"image": str(image), "label": str(self.registry.label(label_id).path)})
        return pairs

    def finished(self) -> list[dict[str, str]]:
        """Image id and label id of every finished case: `datalist` without the server's paths."""
        return [{"image": case_id, "label": label_id} for case_id, label_id in self.registry.finished(FINISHED)]

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Newest label id by tag."""
        return {tag: label.id for tag, label in self._newest(image_id).items()}

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Newest label id of a tag, or "" if there is none."""
        return self.get_labels_by_image_id(image_id).get(tag, "")

    def get_image(self, image_id: str, params: Any = None) -> bytes:
        """The image file's bytes."""
        return Path(self.get_image_uri(image_id)).read_bytes()

    @spoken_as_http
    def get_image_uri(self, image_id: str) -> str:
        """Path of the image file on the server."""
        return str(self.images.path(self.case(image_id)))

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> bytes:
        """The label file's bytes."""
        return Path(self.get_label_uri(label_id, label_tag)).read_bytes()

    @spoken_as_http
    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Path of a label file; the id is a label's, or an image's with a tag."""
        return str(self.label(label_id, label_tag).path)

    @spoken_as_http
    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """Name, checksum and what is known of the series; never an `id`, nothing of the patient."""
        return self.image_info(self.case(image_id))

    def image_info(self, case: Case) -> dict[str, Any]:
        """As `get_image_info`, for a case in hand.

        Raises:
            CaseImageError: If the image cannot be had.
        """
        return {
            "name": self.images.name(case),
            "checksum": f"SHA256:{self.images.checksum(case)}",
            "ts": int(case.added_at.timestamp()),
            "description": case.description,
            "status": str(case.status),
        }

    @spoken_as_http
    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What is known of a label version."""
        return _label_info(self.label(label_id, label_tag))

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Cases with a submitted mask, or with any mask for tag `original`."""
        return self.registry.case_ids(self._labelled(label_tag, True))

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """The other cases."""
        return self.registry.case_ids(self._labelled(label_tag, False))

    def list_images(self) -> list[str]:
        """Every case."""
        return self.registry.case_ids(CaseFilter())

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """Refused: images leave a project through the command line."""
        _refuse("the whole dataset is not served over the network")

    def refresh(self) -> None:
        """Nothing to do: every answer comes from the registry."""

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Refused: images come in by `lungapp ingest`."""
        _refuse("images are added with `lungapp ingest`, not over the network")

    def remove_image(self, image_id: str) -> None:
        """Refused: nothing is deleted."""
        _refuse("images are never removed")

    @spoken_as_http
    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Take a submitted mask; see `submission.submit_mask`.

        Args:
            image_id: The case.
            label_filename: The uploaded file.
            label_tag: `final`, or "" which means the same; `draft` keeps work in progress.
            label_info: The client's `params`: `label_info` names the segments in order, `client_id`, `model`;
                `parent`: id of the version that the mask was made on; `seconds`: how long it took.
        """
        case_id, upload = _case_id(image_id), Path(label_filename)
        with refused_uploads_kept(self.registry, case_id, upload):
            if (label_tag or DefaultLabelTag.FINAL.value) not in (DefaultLabelTag.FINAL.value, DRAFT):
                raise ValueError(f"unknown tag {label_tag[:80]!r}: only 'final' masks and 'draft' are taken")
            names = segment_names(label_info.get("label_info"))
            seconds = _seconds(label_info.get("seconds"))
        new = NewLabel(
            kind=Kind.DRAFT if label_tag == DRAFT else Kind.SUBMITTED,
            author=LOCAL,
            tool=_short(label_info.get("tool")) or "MONAI Label client",
            client_id=_short(label_info.get("client_id")),
            model=_short(label_info.get("model")),
            parent=_short(label_info.get("parent")),
            seconds=seconds,
        )
        return submit_mask(self.registry, case_id, upload, names, new).id

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Refused: nothing is deleted."""
        _refuse("label versions are never removed")

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Nothing: leases are the registry's; the stock server notes each offer here."""

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Refused: a label version never changes."""
        _refuse("label versions are never changed")

    def status(self) -> dict[str, Any]:
        """How many cases there are and how many are finished."""
        counts = self.registry.counts()
        with_mask = counts.total - counts.by_status.get(Status.OPEN, 0)
        return {
            "total": counts.total,
            "completed": counts.completed,
            "label_tags": {"original": with_mask, "final": counts.completed},
        }

    def json(self) -> dict[str, Any]:
        """Every case with its newest labels, in the shape of MONAI Label's own datastore."""
        objects = {}
        for case in self.registry.each_case(CaseFilter()):
            labels = self._newest(case.id) if case.label_count else {}
            objects[case.id] = {
                "image": {"ext": "", "info": {"description": case.description, "status": str(case.status)}},
                "labels": {tag: {"ext": ".nii.gz", "info": _label_info(label)} for tag, label in labels.items()},
            }
        return {"name": self.name(), "description": self.description(), "objects": objects}

    def case(self, image_id: str) -> Case:
        """The case of an image id.

        Raises:
            ValueError: If it has not the form of one.
            UnknownCaseError: If there is none.
        """
        return self.registry.case(_case_id(image_id))

    def label(self, label_id: str, tag: str) -> Label:
        """A label version by its id, or the newest of a case by the case's id and a tag.

        Raises:
            ValueError: If the id or the tag has not the form of one.
            UnknownCaseError: If there is none.
        """
        if tag not in TAGS:
            raise ValueError(f"unknown tag {tag[:80]!r}: expected one of {', '.join(TAGS)}")
        if LABEL_ID.fullmatch(label_id):
            found = self.registry.label(label_id)
        else:
            newest = self._newest(self.case(label_id).id).get(tag)
            if newest is None:
                raise UnknownCaseError(f"no label {label_id} with tag {tag}")
            found = newest
        if found.made_as not in TAGS[tag]:
            raise UnknownCaseError(f"no label {label_id} with tag {tag}")
        if not found.path.exists():
            raise UnknownCaseError(f"the file of label {found.id} is missing: see `lungapp doctor`")
        return found

    def _newest(self, case_id: str) -> dict[str, Label]:
        """The version that a client means by a tag: the newest that nothing took the place of.

        One that was rejected is meant only if no other is left: it is there to be corrected.
        """
        newest: dict[str, Label] = {}
        for label in self.registry.labels(case_id):
            if label.target != LUNGS or label.kind is Kind.SUPERSEDED:
                continue
            for tag, kinds in TAGS.items():
                gives_way = label.kind is Kind.REJECTED and tag in newest and newest[tag].kind is not Kind.REJECTED
                if label.made_as in kinds and not gives_way:
                    newest[tag] = label
        return newest

    def _labelled(self, tag: str | None, has_label: bool) -> CaseFilter:
        if tag == DefaultLabelTag.ORIGINAL.value:
            with_mask = tuple(status for status in Status if status is not Status.OPEN)
            return CaseFilter(statuses=with_mask if has_label else (Status.OPEN,))
        return FINISHED if has_label else UNFINISHED


def segment_names(label_info: Any) -> list[str | None] | None:
    """Names of voxel values 1, 2, ... from a client's `label_info`, a list of `{"name", "idx"}`.

    The v-th entry is value v, in the order of the client's scene; its `idx` also counts removed segments and
    may disagree, so it is not used. None or an empty list: the mask is numbered our way.

    Raises:
        ValueError: If it is anything else.
    """
    if not label_info:
        return None
    if not isinstance(label_info, list) or not all(isinstance(item, dict) for item in label_info):
        raise ValueError(f"label_info: expected a list of {{name, idx}}, got {str(label_info)[:80]}")
    return [None if item.get("name") is None else str(item["name"]) for item in label_info]


def _label_info(label: Label) -> dict[str, Any]:
    return {
        "name": label.path.name,
        "label_id": label.id,
        "number": label.number,
        "kind": str(label.kind),
        "conflict": label.conflict,
        "author": label.author,
        "client_id": label.client_id,
        "model": label.model,
        "ts": int(label.created_at.timestamp()),
        "checksum": f"SHA256:{label.sha256}",
        "label_names": list(LUNG_NAMES),
    }


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_SECONDS:
        raise ValueError(f"seconds {str(value)[:40]!r}: expected a number from 0 to {LONGEST_SECONDS:g}")
    return float(value)


def _case_id(image_id: str) -> str:
    if not CASE_ID.fullmatch(image_id):
        raise ValueError(f"bad image id {image_id[:80]!r}: expected digits such as '0042'")
    return image_id


def _short(value: Any) -> str | None:
    return None if value is None else printable(str(value))[:200]


def _refuse(reason: str) -> NoReturn:
    raise HTTPException(status_code=405, detail=reason)
