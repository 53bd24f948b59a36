"""What the registry hands out: frozen records, free of the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from datastore.geometry import Geometry


class Kind(StrEnum):
    """What a label version is; a version never changes its kind, a later version follows it."""

    PRELIMINARY = "preliminary"
    SUBMITTED = "submitted"


class Status(StrEnum):
    """How far a case has come, from its label versions and its lease."""

    OPEN = "open"
    PRELIMINARY = "preliminary"
    SUBMITTED = "submitted"


@dataclass(frozen=True)
class Source:
    """Where a CT series lies.

    Attributes:
        path: A file, or the folder that holds a DICOM series.
        series_uid: SeriesInstanceUID, for DICOM.
    """

    path: Path
    series_uid: str | None = None

    @property
    def key(self) -> str:
        """What makes a series the same series: its UID, else its place."""
        return f"dicom:{self.series_uid}" if self.series_uid else f"file:{self.path}"


@dataclass(frozen=True)
class NewCase:
    """A CT series about to be registered.

    Attributes:
        source: Where it lies.
        shape: (z, y, x) voxels as stored.
        geometry: Its grid.
        study_uid: StudyInstanceUID, or None.
        description: SeriesDescription, or "".
        sha256: Of the file; None for a DICOM series, which its UID identifies.
    """

    source: Source
    shape: tuple[int, int, int]
    geometry: Geometry
    study_uid: str | None = None
    description: str = ""
    sha256: str | None = None


@dataclass(frozen=True)
class Case:
    """A registered CT series.

    Attributes:
        id: Short and neutral, e.g. `0042`; it says nothing of the patient.
        sha256: Of the file when it was registered; None for a DICOM series.
        leased_until: When the live lease ends, or None.
        leased_by: Who holds it, or None.
    """

    id: str
    source: Source
    shape: tuple[int, int, int]
    geometry: Geometry
    study_uid: str | None
    description: str
    sha256: str | None
    added_at: datetime
    status: Status
    label_count: int
    leased_by: str | None
    leased_until: datetime | None


@dataclass(frozen=True)
class NewLabel:
    """A mask about to become a label version.

    Attributes:
        kind: Preliminary or submitted.
        author: Who made it: a user, or `lungapp` for a model's mask.
        tool: The program it came from, e.g. `threshold` or `3D Slicer`.
        client_id: What the client calls itself, or None; not trusted.
        model: Version of the model whose mask it is or began as, or None.
    """

    kind: Kind
    author: str
    tool: str
    client_id: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Label:
    """One version of a case's mask; never changed, never deleted.

    Attributes:
        id: Name of its file without the suffix.
        number: 1, 2, ... within its case.
        parent: Id of the version it follows, or None.
        sha256: Of its file.
        path: Its file (.nii.gz, on the image's grid).
    """

    id: str
    case_id: str
    number: int
    kind: Kind
    author: str
    tool: str
    client_id: str | None
    model: str | None
    parent: str | None
    sha256: str
    path: Path
    created_at: datetime


@dataclass(frozen=True)
class Lease:
    """A case held by one annotator until a time."""

    case_id: str
    holder: str
    granted_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Counts:
    """How many cases there are, and how many in each status."""

    total: int
    by_status: dict[Status, int]

    @property
    def completed(self) -> int:
        """Cases with a submitted mask."""
        return self.by_status.get(Status.SUBMITTED, 0)
