"""What the registry takes and hands out: frozen records, free of the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from datastore.geometry import Geometry


class Kind(StrEnum):
    """What a label version is now; each change of it is an event."""

    PRELIMINARY = "preliminary"  # a model's
    DRAFT = "draft"  # somebody's work in progress, kept by autosave
    SUBMITTED = "submitted"  # waits for a review
    ACCEPTED = "accepted"  # may train and judge
    REJECTED = "rejected"  # to be corrected again
    SUPERSEDED = "superseded"  # a later version took its place


class Status(StrEnum):
    """How far a case has come, from its label versions."""

    OPEN = "open"
    PRELIMINARY = "preliminary"
    DRAFT = "draft"
    SUBMITTED = "submitted"
    CONFLICT = "conflict"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


DONE = (Status.SUBMITTED, Status.CONFLICT, Status.ACCEPTED)  # not offered to annotators
TO_DO = tuple(status for status in Status if status not in DONE)


class Split(StrEnum):
    """What a patient's cases may be used for; assigned once."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class Severity(StrEnum):
    """What a quality finding means for a mask."""

    NOTE = "note"  # worth knowing
    REVIEW = "review"  # a reviewer has to look before it trains anything
    REFUSE = "refuse"  # not taken


@dataclass(frozen=True)
class QualityFinding:
    """One thing that a quality check found.

    Attributes:
        code: Short and stable, e.g. `right_lung.volume`.
        severity: What it means for the mask.
        text: For people, with the value and what was expected.
    """

    code: str
    severity: Severity
    text: str


@dataclass(frozen=True)
class Source:
    """Where a CT series lies.

    Attributes:
        path: A file, or the folder below which the files of a DICOM series lie; empty for DICOMweb.
        series_uid: SeriesInstanceUID, for DICOM.
        files: The files of a DICOM series in the order of its slices, relative to `path`; empty if the folder
            holds this series alone and has to be searched.
        url: Root of the DICOMweb service that holds the series, or "".
        copies: Further files that hold it or slices of it again, anywhere.
    """

    path: Path
    series_uid: str | None = None
    files: tuple[str, ...] = ()
    url: str = ""
    copies: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What makes a series the same series: its UID, else its place."""
        return f"dicom:{self.series_uid}" if self.series_uid else f"file:{self.path}"

    def __str__(self) -> str:
        return f"{self.url} series {self.series_uid}" if self.url else str(self.path)


@dataclass(frozen=True)
class NewCase:
    """A CT series about to be registered.

    Attributes:
        source: Where it lies.
        shape: (z, y, x) voxels as stored.
        geometry: Its grid.
        study_uid: StudyInstanceUID, or None.
        description: SeriesDescription, or "".
        sha256: Digest of the file's content, see `fingerprint.py`; None for a DICOM series, which its UID identifies,
            and for a header whose voxels lie in another file.
        patient: Key of the patient, see `patients.py`; "" if nothing is known, then the study or the file is one.
        cohort: Where the case comes from, in words: `routine`, `anatomy3`, ...
        tags: Words that cases are found by.
        exclusion: Why the selection rules leave it out, or None.
        origin: Where it was found, if `source` is a copy of that.
        seen_at: Before its files were looked at; now if not given.
    """

    source: Source
    shape: tuple[int, int, int]
    geometry: Geometry
    study_uid: str | None = None
    description: str = ""
    sha256: str | None = None
    patient: str = ""
    cohort: str = ""
    tags: tuple[str, ...] = ()
    exclusion: str | None = None
    origin: Source | None = None
    seen_at: datetime | None = None


@dataclass(frozen=True)
class NewExclusion:
    """A series that is no volume (a localizer, a torn series, another modality) about to be noted.

    Attributes:
        source: Where it lies, with its UID.
        reason: Why, without a file name in it.
        slices: How many images it has.
        damaged: Whether it ought to be a volume: it may become one.
        seen_at: Before its files were looked at; now if not given.
    """

    source: Source
    reason: str
    study_uid: str | None = None
    description: str = ""
    slices: int = 0
    patient: str = ""
    damaged: bool = False
    seen_at: datetime | None = None


@dataclass(frozen=True)
class Exclusion:
    """A series that is known and is no volume; it becomes a case once a later ingest can read it."""

    source: Source
    reason: str
    study_uid: str | None
    description: str
    slices: int
    noted_at: datetime


@dataclass(frozen=True)
class Registered:
    """Where a known series lies.

    Attributes:
        seen_at: Before its files were last looked at.
        slices: How many slices or images were there.
        is_case: Whether it is a case; otherwise it is excluded.
        damaged: Whether it is excluded and ought to be a volume.
    """

    source: Source
    seen_at: datetime
    slices: int
    is_case: bool
    damaged: bool = False


@dataclass(frozen=True)
class Case:
    """A registered CT series.

    Attributes:
        id: Short and neutral, e.g. `0042`; it says nothing of the patient.
        sha256: Digest of the file when it was registered; None as in `NewCase`.
        patient: Key of the patient; two cases of one patient have the same.
        split: What the patient's cases may be used for.
        exclusion: Why the selection rules leave it out, or None.
        overrule: Why a data manager takes it all the same, or None.
        head: Id of the label version that the next one follows, or None.
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
    patient: str
    split: Split
    cohort: str
    tags: tuple[str, ...]
    phenotype: str | None
    exclusion: str | None
    overrule: str | None
    added_at: datetime
    status: Status
    label_count: int
    head: str | None
    leased_by: str | None
    leased_until: datetime | None

    @property
    def eligible(self) -> bool:
        """Whether the case is offered to annotators: no rule leaves it out, or somebody overruled it."""
        return self.exclusion is None or self.overrule is not None


@dataclass(frozen=True)
class NewLabel:
    """A mask about to become a label version.

    Attributes:
        kind: Preliminary, draft, submitted, or accepted for the reference of a public data set.
        author: Who made it: a user, or `lungapp` for a model's mask.
        tool: The program it came from, e.g. `threshold` or `3D Slicer`.
        client_id: What the client calls itself, or None; not trusted.
        model: Version of the model whose mask it is or began as, or None.
        parent: Id of the version that the author began with, or None if the client does not say.
        seconds: How long the author worked on it, or None.
        target: What is drawn: `lungs`, or `tumour` of a reference.
        findings: Of the quality checks, or None if they were not made.
    """

    kind: Kind
    author: str
    tool: str
    client_id: str | None = None
    model: str | None = None
    parent: str | None = None
    seconds: float | None = None
    target: str = "lungs"
    findings: tuple[QualityFinding, ...] | None = None


@dataclass(frozen=True)
class Label:
    """One version of a case's mask; its file never changes and is never deleted.

    Attributes:
        id: Name of its file without the suffix.
        number: 1, 2, ... within its case.
        kind: What it is now.
        made_as: What it was when it was made.
        parent: Id of the version it follows, or None.
        conflict: Whether it was made on an outdated version, and waits for a reviewer to decide between the two.
        sha256: Of its file.
        path: Its file (.nii.gz, on the image's grid).
        seconds: How long the author worked on it, or None.
        edited_ml: Volume that differs from the parent, or None without one.
        findings: Of the quality checks, or None if they were not made yet.
    """

    id: str
    case_id: str
    number: int
    kind: Kind
    made_as: Kind
    author: str
    tool: str
    client_id: str | None
    model: str | None
    parent: str | None
    conflict: bool
    sha256: str
    path: Path
    seconds: float | None
    edited_ml: float | None
    target: str
    findings: tuple[QualityFinding, ...] | None
    created_at: datetime


@dataclass(frozen=True)
class Lease:
    """A case held by one annotator until a time.

    Attributes:
        base: Id of the label version that was the case's head when it was given out, or None.
    """

    case_id: str
    holder: str
    granted_at: datetime
    expires_at: datetime
    base: str | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened; never changed, never deleted.

    Attributes:
        actor: Who did it.
        action: What, e.g. `label.submitted`.
        detail: Plain values that say more.
    """

    at: datetime
    actor: str
    action: str
    case_id: str | None
    label_id: str | None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Counts:
    """How many cases there are, and how many in each status."""

    total: int
    by_status: dict[Status, int]
    ineligible: int = 0

    @property
    def completed(self) -> int:
        """Cases with a submitted mask."""
        return sum(self.by_status.get(status, 0) for status in DONE)


@dataclass(frozen=True)
class NewDraw:
    """Why a case is chosen.

    Attributes:
        strategy: `random`, `phenotype`, `edge`, ...
        category: Within the strategy: a phenotype, `fibrosis`, `trauma`, or "".
        score: By which it was chosen, or None.
        reason: In words.
        seed: Of a random choice, or None.
        model: Version of the model behind the score, or None.
    """

    case_id: str
    strategy: str
    category: str = ""
    score: float | None = None
    reason: str = ""
    seed: int | None = None
    model: str | None = None


@dataclass(frozen=True)
class Draw:
    """Why a case was chosen, when and by whom."""

    selection: str
    case_id: str
    strategy: str
    category: str
    score: float | None
    reason: str
    seed: int | None
    model: str | None
    drawn_at: datetime
    drawn_by: str
