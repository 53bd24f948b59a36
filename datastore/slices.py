"""DICOM slices: what a header says of one, and what makes a pile of them a volume.

A pile is a volume when its slices are parallel, evenly spaced, none missing, none twice, none tilted. Anything
else is refused by name, never repaired in silence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from datastore.wording import first_line

PIXEL_DATA = Tag("PixelData")
DEFER_BYTES = 4096  # longer values, which is the pixels, are left on disk
GAP_TOLERANCE = 0.1  # share of the slice distance; scanners round positions, a missing slice doubles it
TILT_TOLERANCE_DEGREES = 0.5
HEADER_TAGS = [
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesDescription",
    "Modality",
    "ImageType",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


@dataclass(frozen=True)
class Slice:
    """One slice's header: where it lies and how its numbers become Hounsfield units.

    Attributes:
        path: Its file.
        frame: Number of the frame in a multi-frame file, else 0.
        position_mm: Centre of its first voxel, LPS.
        orientation: Direction cosines of its rows, then of its columns.
        spacing_mm: Distance between rows, then between columns, as DICOM orders them.
        shape: Rows, columns.
        rescale: Slope and intercept to Hounsfield units.
        thickness_mm: Slice thickness, or None.
    """

    path: Path
    frame: int
    sop_uid: str
    position_mm: tuple[float, float, float]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, float]
    shape: tuple[int, int]
    rescale: tuple[float, float]
    thickness_mm: float | None


@dataclass(frozen=True, eq=False)
class SliceFile:
    """A DICOM file's header, read without its pixels.

    Attributes:
        path: The file.
        header: The attributes in `HEADER_TAGS`.
        pixel_bytes: Length of its pixel data as the header says, or None without any.
        pixel_start: Where they begin in the file.
    """

    path: Path
    header: FileDataset
    pixel_bytes: int | None
    pixel_start: int

    @classmethod
    def read(cls, path: Path) -> SliceFile:
        """The header of a file.

        Raises:
            ValueError: If it is damaged: pydicom raises about anything then.
        """
        if not path.is_file():
            raise ValueError("not a regular file")
        try:
            tags = [*HEADER_TAGS, "PixelData"]
            header = pydicom.dcmread(path, defer_size=DEFER_BYTES, specific_tags=tags, force=True)
            pixels = dict(header.items()).get(PIXEL_DATA)  # `header.PixelData` would load them
            if not isinstance(pixels, RawDataElement):
                return cls(path, header, None, 0)
            del header[PIXEL_DATA]
            return cls(path, header, int(pixels.length), int(pixels.value_tell))
        except OSError:
            raise
        except Exception as error:
            raise ValueError(f"damaged DICOM: {first_line(error)}") from error


class NotCTError(ValueError):
    """A series that is fine but no CT volume: another modality, a localizer, a report."""


def check_is_ct(header: Dataset) -> None:
    """Refuse what is no CT image.

    Raises:
        NotCTError: With what it is instead.
    """
    modality = str(header.get("Modality", "unknown"))
    if modality != "CT":
        raise NotCTError(f"modality {modality}, expected CT")
    if "LOCALIZER" in [str(value).upper() for value in header.get("ImageType", [])]:
        raise NotCTError("localizer")
    if "Rows" not in header:
        raise NotCTError("no image")
    if int(header.get("SamplesPerPixel", 1)) != 1:
        raise NotCTError(f"colours: {header.SamplesPerPixel} samples per pixel, expected 1")


def slices_of(file: SliceFile) -> Iterator[Slice]:
    """The slices of one file: one, or one for each frame of a multi-frame image.

    Raises:
        ValueError: If the file is torn or lacks what places a slice.
    """
    path, header = file.path, file.header
    _check_is_whole(file)
    frames = header.get("PerFrameFunctionalGroupsSequence")
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for number, groups in enumerate(frames or [Dataset()]):
        lookup = _Lookup(path, (groups, shared[0], header))
        sop_uid = str(header.get("SOPInstanceUID", path.name))
        slope, intercept = lookup.get("RescaleSlope"), lookup.get("RescaleIntercept")
        if slope is None or intercept is None:
            raise ValueError(f"{path.name} has no Rescale Slope and Intercept: not in Hounsfield units")
        if not np.isfinite([float(slope), float(intercept)]).all() or float(slope) <= 0:
            raise ValueError(f"{path.name}: Rescale Slope {slope} and Intercept {intercept} give no Hounsfield units")
        thickness = lookup.get("SliceThickness")
        yield Slice(
            path=path,
            frame=number,
            sop_uid=f"{sop_uid}#{number}" if frames else sop_uid,
            position_mm=lookup.numbers("ImagePositionPatient", 3),
            orientation=lookup.numbers("ImageOrientationPatient", 6),
            spacing_mm=lookup.numbers("PixelSpacing", 2),
            shape=(int(header.Rows), int(header.Columns)),
            rescale=(float(slope), float(intercept)),
            thickness_mm=float(thickness) if thickness else None,
        )


def stack(slices: list[Slice]) -> tuple[list[Slice], float]:
    """Slices sorted along their normal, and the distance between them in mm.

    Raises:
        ValueError: If they are not one evenly spaced stack of parallel slices without tilt.
    """
    first = slices[0]
    for item in slices[1:]:
        if item.shape != first.shape:
            raise ValueError(f"slices of different size: {first.shape} and {item.shape} ({item.path.name})")
        if not np.allclose(item.orientation, first.orientation, atol=1e-3):
            raise ValueError(f"slices of different orientation: {first.path.name} and {item.path.name}")
        if not np.allclose(item.spacing_mm, first.spacing_mm, rtol=1e-3):
            raise ValueError(f"slices of different pixel spacing: {first.spacing_mm} and {item.spacing_mm} mm")
    rows, columns = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    normal = np.cross(rows, columns)
    if abs(np.linalg.norm(normal) - 1) > 1e-2:
        raise ValueError(f"row and column directions are not at right angles: {first.orientation}")
    if len(slices) == 1:
        return slices, first.thickness_mm or 1.0
    places = np.array([item.position_mm for item in slices])
    heights = places @ normal
    order = np.argsort(heights, kind="stable")
    ordered = [slices[index] for index in order]
    steps = np.diff(heights[order])
    twice = np.flatnonzero(steps < 1e-3)
    if len(twice):
        pair = ordered[twice[0]], ordered[twice[0] + 1]
        raise ValueError(
            f"{len(twice) + 1} slices share a position: "
            f"{pair[0].path.name} and {pair[1].path.name} at {heights[order][twice[0]]:g} mm"
        )
    distance = float(np.median(steps))
    uneven = np.flatnonzero(np.abs(steps - distance) > GAP_TOLERANCE * distance)
    if len(uneven):
        at = int(uneven[0])
        missing = round(steps[at] / distance) - 1
        what = f"{missing} slice{'s' if missing > 1 else ''} missing" if missing > 0 else "spacing irregular"
        raise ValueError(
            f"{what} between {ordered[at].path.name} and {ordered[at + 1].path.name}: "
            f"{steps[at]:g} mm apart, expected {distance:g} mm"
        )
    along = places[order][-1] - places[order][0]
    sideways = np.linalg.norm(along - normal * (along @ normal))
    tilt_degrees = float(np.degrees(np.arctan2(sideways, along @ normal)))
    if tilt_degrees > TILT_TOLERANCE_DEGREES:
        raise ValueError(f"gantry tilt of {tilt_degrees:.1f} degrees: the slices are not stacked upright")
    return ordered, float(steps.sum() / len(steps))


def transfer_syntax(dataset: FileDataset) -> UID:
    """How a file's values are written; a file without a header of its own says it by its first attributes."""
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if stated:
        return UID(stated)
    return ImplicitVRLittleEndian if dataset.is_implicit_VR else ExplicitVRLittleEndian


def _check_is_whole(file: SliceFile) -> None:
    """Refuse a file whose pixels are fewer than its header promises, without reading them."""
    header, name = file.header, file.path.name
    rows, columns = int(header.Rows), int(header.Columns)
    if rows < 1 or columns < 1:
        raise ValueError(f"{name}: expected pixels, got {rows} rows of {columns}")
    if file.pixel_bytes is None:
        raise ValueError(f"{name} has no pixel data")
    syntax = transfer_syntax(header)
    if syntax.is_compressed:
        return
    frames = int(header.get("NumberOfFrames") or 1)
    expected = frames * rows * columns * int(header.get("BitsAllocated", 16)) // 8
    there = (
        file.pixel_bytes if syntax.is_deflated else min(file.pixel_bytes, file.path.stat().st_size - file.pixel_start)
    )
    if there < expected or expected == 0:
        raise ValueError(f"{name} is truncated: expected {expected} bytes of pixels, got {there}")


@dataclass(frozen=True)
class _Lookup:
    """Attributes of a slice wherever they stand: in its frame's groups, the shared ones, or the header."""

    path: Path
    places: tuple[Dataset, ...]

    def get(self, name: str) -> Any:
        for place in self.places:
            if name in place:
                return place[name].value
            for element in place:
                is_group = element.VR == "SQ" and "FunctionalGroups" not in element.keyword
                if is_group and element.value and name in element.value[0]:
                    return element.value[0][name].value
        return None

    def numbers(self, name: str, count: int) -> Any:
        value = self.get(name)
        if value is None or value == "":
            raise ValueError(f"{self.path.name} has no {name}: not a slice of a volume")
        numbers = tuple(float(number) for number in np.atleast_1d(value))
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise ValueError(f"{self.path.name}: expected {count} numbers as {name}, got {value}")
        return numbers
