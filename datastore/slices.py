"""DICOM slices: what the header of a file says of one, in a compact record, or why it gives none.

A million of these fit into memory: values that many slices share are one object, and nothing of pydicom is kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from datastore import attributes as tags
from datastore.headers import Header
from datastore.wording import first_line

NO_PATIENT = {"", "0", "anonymous", "anonymized", "anonymised", "anon", "unknown", "none", "patient"}
UID_LENGTH = 64
NUMBERS = re.compile(r"[0-9eE+.\\ naifNAIF-]*")

Vector = tuple[float, float, float]


class SeriesFacts(NamedTuple):
    """What the files of a series say of it as a whole.

    Attributes:
        uid: SeriesInstanceUID.
        study_uid: StudyInstanceUID, or "".
        description: SeriesDescription, or "".
        image_type: Values of ImageType in capitals.
        patient: Key of the patient, or "".
    """

    uid: str
    study_uid: str
    description: str
    image_type: tuple[str, ...]
    patient: str


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice: where it lies and how its numbers become Hounsfield units.

    Attributes:
        facts: Of its series.
        folder: The folder of its file.
        name: Its file's name.
        frame: Number of the frame in a multi-frame file, else 0.
        sop_uid: SOPInstanceUID, with the frame's number in a multi-frame file.
        position_mm: Centre of its first voxel, LPS.
        orientation: Direction cosines of its rows, then of its columns.
        spacing_mm: Distance between rows, then between columns, as DICOM orders them.
        shape: Rows, columns.
        rescale: Slope and intercept to Hounsfield units.
        thickness_mm: Slice thickness, or None.
    """

    facts: SeriesFacts
    folder: str
    name: str
    frame: int
    sop_uid: str
    position_mm: Vector
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, float]
    shape: tuple[int, int]
    rescale: tuple[float, float]
    thickness_mm: float | None

    @property
    def path(self) -> Path:
        """Its file."""
        return Path(self.folder, self.name)


@dataclass(frozen=True, slots=True)
class Flaw:
    """A file of a series that gives no slice.

    Attributes:
        facts: Of its series.
        folder: The folder of its file.
        name: Its file's name.
        sop_uid: SOPInstanceUID.
        position_mm: Where the slice would lie, or None.
        reason: What is wrong, as it reads after "slice 12".
        is_other: Whether it is fine but no CT slice: another modality, a localizer, a report.
    """

    facts: SeriesFacts
    folder: str
    name: str
    sop_uid: str
    position_mm: Vector | None
    reason: str
    is_other: bool

    @property
    def path(self) -> Path:
        """Its file."""
        return Path(self.folder, self.name)


class SliceError(ValueError):
    """What is wrong with a series, in words without a file's name, and the file.

    Attributes:
        reason: The words.
        path: The file, or None if it is no single one.
    """

    def __init__(self, reason: str, path: Path | None = None) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason
        self.path = path


class NotCTError(SliceError):
    """A series that is fine but no CT volume: another modality, a localizer, bolus monitoring, a report."""


def facts_of(header: Header, patient_of: Callable[[str], str]) -> SeriesFacts:
    """What a file says of its series; of the PatientID only what `patient_of` makes of it is kept.

    Raises:
        ValueError: If it names no series.
    """
    uid = header.get(tags.SERIES_UID)
    if not uid:
        raise ValueError("has no SeriesInstanceUID: what it belongs to cannot be told")
    if len(uid) > UID_LENGTH or not uid.isascii() or not uid.isprintable():
        raise ValueError(f"its SeriesInstanceUID is no UID: expected up to {UID_LENGTH} digits and dots")
    patient_id = header.get(tags.PATIENT_ID).strip()
    patient = "" if patient_id.lower() in NO_PATIENT else patient_of(patient_id)
    return _facts(
        uid, header.get(tags.STUDY_UID), header.get(tags.SERIES_DESCRIPTION), header.get(tags.IMAGE_TYPE), patient
    )


def slices_of(header: Header, facts: SeriesFacts, folder: str, name: str) -> Sequence[Slice | Flaw]:
    """The slices of one file: one, or one for each frame of a multi-frame image; a flaw if it gives none."""
    sop_uid = header.get(tags.SOP_UID) or f"{folder}/{name}"
    other = _other_kind(header, facts)
    if other:
        return [Flaw(facts, folder, name, sop_uid, None, other, is_other=True)]
    try:
        _check_is_whole(header)
        if not header.frames:
            return [_slice(header.get, facts, folder, name, 0, sop_uid, header)]
        return [
            _slice(_in_groups(frame, header), facts, folder, name, number, f"{sop_uid}#{number}", header)
            for number, frame in enumerate(header.frames)
        ]
    except Exception as error:  # pydicom raises about anything on damaged functional groups
        reason = first_line(error) if isinstance(error, ValueError) else f"is damaged: {type(error).__name__}"
        return [Flaw(facts, folder, name, sop_uid, _place(header), reason, is_other=False)]


@lru_cache(maxsize=1 << 16)
def _facts(uid: str, study_uid: str, description: str, image_type: str, patient: str) -> SeriesFacts:
    """One record for all the files that say the same."""
    readable = "".join(letter if letter.isprintable() else " " for letter in description)
    words = tuple(word.strip().upper() for word in image_type.split("\\"))
    return SeriesFacts(uid, study_uid, " ".join(readable.split()), words, patient)


@lru_cache(maxsize=1 << 12)
def _numbers(text: str, count: int, name: str) -> tuple[float, ...]:
    """Numbers of an attribute; equal ones are one tuple."""
    return _numbers_of(text, count, name)


def _numbers_of(text: str, count: int, name: str) -> tuple[float, ...]:
    if not text:
        raise ValueError(f"has no {name}: not a slice of a volume")
    try:
        numbers = tuple(float(number) for number in text.split("\\"))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        said = repr(text[:60]) if NUMBERS.fullmatch(text) else "something else"  # which may be a name
        raise ValueError(f"is damaged: expected {count} numbers as {name}, got {said}")
    return numbers


@lru_cache(maxsize=1 << 12)
def _rescale(slope: str, intercept: str) -> tuple[float, float]:
    if not slope or not intercept:
        raise ValueError("has no Rescale Slope and Intercept: not in Hounsfield units")
    ((a,), (b,)) = _numbers_of(slope, 1, "RescaleSlope"), _numbers_of(intercept, 1, "RescaleIntercept")
    if a <= 0:
        raise ValueError(f"has Rescale Slope {a:g} and Intercept {b:g}: they give no Hounsfield units")
    return a, b


@lru_cache(maxsize=1 << 12)
def _shape(rows: str, columns: str) -> tuple[int, int]:
    shape = int(_numbers_of(rows, 1, "Rows")[0]), int(_numbers_of(columns, 1, "Columns")[0])
    if min(shape) < 1:
        raise ValueError(f"is damaged: expected pixels, got {shape[0]} rows of {shape[1]}")
    return shape


def _other_kind(header: Header, facts: SeriesFacts) -> str:
    """What a file is instead of a CT slice, or ""."""
    modality = header.get(tags.MODALITY) or "unknown"
    if modality != "CT":
        return f"modality {modality[:16]}, expected CT"
    if "LOCALIZER" in facts.image_type:
        return "localizer"
    if not header.get(tags.ROWS):
        return "no image"
    samples = header.get(tags.SAMPLES_PER_PIXEL)
    return f"colours: {samples} samples per pixel, expected 1" if samples not in ("", "1") else ""


def _slice(
    get: Callable[[int], str], facts: SeriesFacts, folder: str, name: str, frame: int, sop_uid: str, header: Header
) -> Slice:
    x, y, z = _numbers_of(get(tags.POSITION), 3, "ImagePositionPatient")
    spacing_mm = _numbers(get(tags.PIXEL_SPACING), 2, "PixelSpacing")
    thickness = get(tags.SLICE_THICKNESS)
    return Slice(
        facts=facts,
        folder=folder,
        name=name,
        frame=frame,
        sop_uid=sop_uid,
        position_mm=(x, y, z),
        orientation=_numbers(get(tags.ORIENTATION), 6, "ImageOrientationPatient"),
        spacing_mm=spacing_mm,  # type: ignore[arg-type]  # two, as asked
        shape=_shape(header.get(tags.ROWS), header.get(tags.COLUMNS)),
        rescale=_rescale(get(tags.RESCALE_SLOPE), get(tags.RESCALE_INTERCEPT)),
        thickness_mm=_numbers(thickness, 1, "SliceThickness")[0] or None if thickness else None,
    )


def _in_groups(frame: Dataset, header: Header) -> Callable[[int], str]:
    """Looks an attribute up wherever it stands: in a frame's groups, the shared ones, or the header."""

    def get(tag: int) -> str:
        for place in (frame, header.shared or Dataset()):
            for element in place:
                found = element if element.tag == tag else None
                if element.VR == "SQ" and element.value and tag in element.value[0]:
                    found = element.value[0][tag]
                if found is not None:
                    value = "" if found.value is None else found.value
                    return "\\".join(str(each) for each in (value if isinstance(value, MultiValue) else [value]))
        return header.get(tag)

    return get


def _place(header: Header) -> Vector | None:
    """Where a damaged slice would lie, for its number."""
    try:
        x, y, z = _numbers_of(header.get(tags.POSITION), 3, "ImagePositionPatient")
    except ValueError:
        return None
    return x, y, z


def _check_is_whole(header: Header) -> None:
    """Refuse a file whose pixels are fewer than its header promises, without reading them."""
    rows, columns = _shape(header.get(tags.ROWS), header.get(tags.COLUMNS))
    if header.pixel_bytes is None:
        raise ValueError("has no pixel data")
    if _is_compressed(header.syntax):
        return
    frames = int(float(header.get(tags.NUMBER_OF_FRAMES) or 1))
    expected = frames * rows * columns * int(header.get(tags.BITS_ALLOCATED) or 16) // 8
    is_deflated = header.syntax == DeflatedExplicitVRLittleEndian
    there = header.pixel_bytes if is_deflated else min(header.pixel_bytes, header.size - header.pixel_start)
    if there < expected or expected == 0:
        raise ValueError(f"is truncated: expected {expected} bytes of pixels, got {there}")


@lru_cache(maxsize=1 << 8)
def _is_compressed(syntax: str) -> bool:
    try:
        return UID(syntax).is_compressed
    except ValueError as error:  # a private one
        raise ValueError("is written in a transfer syntax that is not read") from error
