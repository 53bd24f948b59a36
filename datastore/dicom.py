"""DICOM files: which series lie in a folder, in what order their slices go, and their Hounsfield units.

A series is read only when it is a volume: one CT series, slices parallel, evenly spaced, none missing, none
twice. Anything else is refused by name, never repaired in silence.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from datastore.geometry import Geometry
from datastore.metaimage import itk_reason
from datastore.nifti import first_line
from datastore.volume import Volume

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


@dataclass(frozen=True)
class Series:
    """A readable CT series, its slices sorted from one end to the other along their normal.

    Attributes:
        uid: SeriesInstanceUID.
        study_uid: StudyInstanceUID.
        description: SeriesDescription, or "".
        folder: The folder that holds its files.
        slices: Sorted along the slice normal.
        spacing_mm: Distance between slices.
    """

    uid: str
    study_uid: str
    description: str
    folder: Path
    slices: tuple[Slice, ...]
    spacing_mm: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) voxels."""
        return (len(self.slices), *self.slices[0].shape)

    @property
    def geometry(self) -> Geometry:
        """The grid of the volume that the slices make."""
        first = self.slices[0]
        rows, columns = np.array(first.orientation[:3]), np.array(first.orientation[3:])
        normal = np.cross(rows, columns)
        direction = np.stack([rows, columns, normal], axis=1)
        row_distance, column_distance = first.spacing_mm
        return Geometry(
            spacing_mm=(column_distance, row_distance, self.spacing_mm),
            origin_mm=first.position_mm,
            direction=tuple(float(value) for value in direction.ravel()),
        )


@dataclass(frozen=True)
class Rejected:
    """A series or file that is not a CT volume.

    Attributes:
        path: The folder or file.
        reason: Why, in words.
        damaged: Whether it ought to be one: a CT series with a slice missing, a torn file. False for what
            simply is something else: a localizer, a report, an MR series.
    """

    path: Path
    reason: str
    damaged: bool

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def is_dicom(path: Path) -> bool:
    """Whether a file has the DICOM signature."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM" and path.name != "DICOMDIR"
    except OSError:
        return False


def find_series(
    folder: Path, *, recursive: bool = False, progress: Callable[[], None] | None = None
) -> tuple[list[Series], list[Rejected]]:
    """Every series in a folder, headers only.

    Args:
        folder: The folder.
        recursive: Whether to look into the folders below, each of which keeps its own series.
        progress: Called once for each file.

    Returns:
        The readable CT series, in the order of their folders and UIDs, and what was left out and why.
    """
    found: list[Series] = []
    rejected: list[Rejected] = []
    for root, names in _folders(folder, recursive):
        groups: dict[str, list[tuple[Path, Dataset]]] = defaultdict(list)
        for name in names:
            if progress is not None:
                progress()
            path = root / name
            if path.stat().st_size == 0 and path.suffix.lower() == ".dcm":
                rejected.append(Rejected(path, "empty file (0 bytes)", damaged=True))
            if not is_dicom(path):
                continue
            try:
                header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=HEADER_TAGS)
                uid = str(header.SeriesInstanceUID)
            except (InvalidDicomError, OSError, EOFError, AttributeError, ValueError, KeyError) as error:
                rejected.append(Rejected(path, f"damaged DICOM: {first_line(error)}", damaged=True))
                continue
            groups[uid].append((path, header))
        for uid in sorted(groups):
            try:
                found.append(_series(root, groups[uid]))
            except NotCTError as error:
                rejected.append(Rejected(root, f"{error} (series ...{uid[-12:]})", damaged=False))
            except ValueError as error:
                rejected.append(Rejected(root, f"{error} (series ...{uid[-12:]})", damaged=True))
    return found, rejected


def read_series(series: Series) -> Volume:
    """The Hounsfield units of a series.

    Returns:
        (z, y, x) int16; z runs along the normal of the slices (rows x columns), which for an axial series
        is superior.

    Raises:
        ValueError: If a slice's pixels cannot be read; the message names its file.
    """
    array = np.empty(series.shape, dtype=np.int16)
    frames: dict[Path, np.ndarray] = {}
    for index, item in enumerate(series.slices):
        if item.path not in frames:
            frames = {item.path: _pixels(item.path)}
        pixels = frames[item.path][item.frame]
        if pixels.shape != item.shape:
            raise ValueError(f"{item.path}: expected {item.shape} pixels, got {pixels.shape}")
        slope, intercept = item.rescale
        if slope == 1 and float(intercept).is_integer():
            units = pixels.astype(np.int32) + int(intercept)
        else:
            units = np.rint(pixels * slope + intercept)
        array[index] = np.clip(units, -32768, 32767)
    return Volume(array, series.geometry)


def read_folder(folder: Path, series_uid: str | None = None) -> Volume:
    """The one CT series in a folder, or the one that `series_uid` names.

    Raises:
        ValueError: If there is none, several, or it is no complete volume.
    """
    found, rejected = find_series(folder)
    if series_uid is not None:
        found = [series for series in found if series.uid == series_uid]
    if len(found) > 1:
        listed = ", ".join(f"{s.description or 'no description'} ({len(s.slices)} slices)" for s in found)
        raise ValueError(f"{folder}: holds {len(found)} series, expected one: {listed}")
    damaged = [item for item in rejected if item.damaged]
    if damaged:  # a torn file may be a slice of this very series
        raise ValueError(str(damaged[0]))
    if not found:
        reasons = "; ".join(item.reason for item in rejected[:3])
        raise ValueError(f"{folder}: no readable CT series" + (f": {reasons}" if reasons else ""))
    return read_series(found[0])


def read_file(path: Path) -> Volume:
    """A single DICOM file as a volume: one slice, or all the frames of a multi-frame CT.

    Raises:
        ValueError: If it is not CT, damaged, or coloured; the message names it.
    """
    return read_series(series_of_file(path))


def series_of_file(path: Path) -> Series:
    """The header of a single DICOM file as a series of its own; see `read_file`."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=HEADER_TAGS)
        return _series(path.parent, [(path, header)])
    except (InvalidDicomError, OSError, EOFError, AttributeError, KeyError) as error:
        raise ValueError(f"{path}: damaged DICOM: {first_line(error)}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


class NotCTError(ValueError):
    """A series that is fine but no CT volume: another modality, a localizer, a report."""


def _folders(folder: Path, recursive: bool) -> Iterator[tuple[Path, list[str]]]:
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        yield Path(root), sorted(name for name in names if not name.startswith("."))


def _series(folder: Path, files: list[tuple[Path, Dataset]]) -> Series:
    """The sorted series of some headers with one SeriesInstanceUID."""
    _check_is_ct(files[0][1])
    slices: dict[str, Slice] = {}
    for path, header in files:
        for item in _slices(path, header):
            slices.setdefault(item.sop_uid, item)  # a copy under another name is the same slice
    ordered, distance_mm = _stack(list(slices.values()))
    first = files[0][1]
    return Series(
        uid=str(first.SeriesInstanceUID),
        study_uid=str(first.get("StudyInstanceUID", "")),
        description=str(first.get("SeriesDescription", "")),
        folder=folder,
        slices=tuple(ordered),
        spacing_mm=distance_mm,
    )


def _check_is_ct(header: Dataset) -> None:
    modality = str(header.get("Modality", "unknown"))
    if modality != "CT":
        raise NotCTError(f"modality {modality}, expected CT")
    if "LOCALIZER" in [str(value).upper() for value in header.get("ImageType", [])]:
        raise NotCTError("localizer")
    if "Rows" not in header:
        raise NotCTError("no image")
    if int(header.get("SamplesPerPixel", 1)) != 1:
        raise NotCTError(f"colours: {header.SamplesPerPixel} samples per pixel, expected 1")


def _check_is_whole(path: Path, header: Dataset) -> None:
    """Refuse a file that is shorter than its pixels, without reading them."""
    if header.file_meta.TransferSyntaxUID.is_compressed:
        return
    frames = int(header.get("NumberOfFrames") or 1)
    pixel_bytes = frames * int(header.Rows) * int(header.Columns) * int(header.get("BitsAllocated", 16)) // 8
    size = path.stat().st_size
    if size < pixel_bytes:
        raise ValueError(f"{path.name} is truncated: expected more than {pixel_bytes} bytes, got {size}")


def _slices(path: Path, header: Dataset) -> Iterator[Slice]:
    """The slices of one file: one, or one for each frame of a multi-frame image."""
    _check_is_whole(path, header)
    frames = header.get("PerFrameFunctionalGroupsSequence")
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for number, groups in enumerate(frames or [Dataset()]):
        lookup = _Lookup(path, (groups, shared[0], header))
        sop_uid = str(header.get("SOPInstanceUID", path.name))
        slope, intercept = lookup.get("RescaleSlope"), lookup.get("RescaleIntercept")
        if slope is None or intercept is None:
            raise ValueError(f"{path.name} has no Rescale Slope and Intercept: not in Hounsfield units")
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
        if value is None or len(value) != count:
            raise ValueError(f"{self.path.name} has no {name}: not a slice of a volume")
        return tuple(float(number) for number in value)


def _stack(slices: list[Slice]) -> tuple[list[Slice], float]:
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


def _pixels(path: Path) -> np.ndarray:
    """(frames, rows, columns) stored values of a file."""
    try:
        dataset = pydicom.dcmread(path)
        if not dataset.file_meta.TransferSyntaxUID.is_compressed:
            pixels = dataset.pixel_array
            return pixels if pixels.ndim == 3 else pixels[np.newaxis]
    except (InvalidDicomError, OSError, EOFError, AttributeError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: truncated or damaged pixels: {first_line(error)}") from error
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        units = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise ValueError(f"{path}: truncated or damaged pixels: {itk_reason(error)}") from error
    slope = float(dataset.get("RescaleSlope", 1.0))
    return (units - float(dataset.get("RescaleIntercept", 0.0))) / slope  # GDCM has rescaled already
