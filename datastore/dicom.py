"""DICOM files: which series lie in a folder, and their Hounsfield units.

A series is read only when its slices make a volume (`slices.py`).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.errors import InvalidDicomError

from datastore.geometry import Geometry
from datastore.metaimage import itk_reason
from datastore.slices import NotCTError, Slice, SliceFile, check_is_ct, slices_of, stack, transfer_syntax
from datastore.volume import Volume
from datastore.wording import first_line

FIRST_ATTRIBUTES = (  # of files without the 128 bytes in front and the signature
    *(bytes([2, 0, element, 0]) for element in (0, 1, 2)),
    *(bytes([8, 0, element, 0]) for element in (0, 1, 5, 8, 0x12, 0x16, 0x18)),
)


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
        series_uid: Of the series, or None for a file that could belong to any.
    """

    path: Path
    reason: str
    damaged: bool
    series_uid: str | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def is_dicom(path: Path) -> bool:
    """Whether a file has the DICOM signature, or begins with a DICOM attribute as old exports do.

    Raises:
        OSError: If it cannot be opened.
    """
    if not path.is_file() or path.name == "DICOMDIR":
        return False
    with open(path, "rb") as file:
        start = file.read(132)
    return start[128:] == b"DICM" or start[:4] in FIRST_ATTRIBUTES


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
    for root, names in walk(folder, rejected, recursive=recursive):
        groups: dict[str, list[SliceFile]] = defaultdict(list)
        for name in names:
            if progress is not None:
                progress()
            path = root / name
            try:
                if is_dicom(path):
                    file = SliceFile.read(path)
                    uid = str(file.header.get("SeriesInstanceUID") or "")
                    if not uid:
                        raise ValueError("has no SeriesInstanceUID: what it belongs to cannot be told")
                    groups[uid].append(file)
                elif path.suffix.lower() == ".dcm":
                    what = (
                        "not a DICOM file (no DICM signature)"
                        if not path.is_file() or path.stat().st_size
                        else "empty file (0 bytes)"
                    )
                    rejected.append(Rejected(path, what, damaged=True))
            except OSError as error:
                rejected.append(Rejected(path, f"cannot be read: {error.strerror}", damaged=True))
            except ValueError as error:
                rejected.append(Rejected(path, first_line(error), damaged=True))
        torn = [item for item in rejected if item.path.parent == root and item.series_uid is None and item.damaged]
        for uid in sorted(groups):
            try:
                if torn and len(groups) == 1:  # the torn file can only be a slice of this series
                    raise ValueError(f"{torn[0].path.name} is damaged ({torn[0].reason})")
                found.append(_series(root, groups[uid]))
            except ValueError as error:
                reason = f"{first_line(error)} (series ...{uid[-12:]})"
                rejected.append(Rejected(root, reason, not isinstance(error, NotCTError), uid))
    return found, rejected


def walk(folder: Path, rejected: list[Rejected], *, recursive: bool) -> Iterator[tuple[Path, list[str]]]:
    """Folders and the names of their files, sorted, hidden ones left out; what cannot be entered is rejected."""

    def refuse(error: OSError) -> None:
        rejected.append(Rejected(Path(error.filename), f"cannot be read: {error.strerror}", damaged=True))

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        yield Path(root), sorted(name for name in names if not name.startswith("."))


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
    is_rescaled = False
    for index, item in enumerate(series.slices):
        if item.path not in frames:
            frames = {item.path: _pixels(item.path)}
            is_rescaled = frames[item.path].dtype == np.float64
        pixels = frames[item.path][item.frame]
        if pixels.shape != item.shape:
            raise ValueError(f"{item.path}: expected {item.shape} pixels, got {pixels.shape}")
        slope, intercept = item.rescale
        if is_rescaled:
            units = np.rint(pixels)
        elif slope == 1 and float(intercept).is_integer():
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
    if series_uid is None:
        series_uid = found[0].uid if len(found) == 1 else None
    else:
        found = [series for series in found if series.uid == series_uid]
    if len(found) > 1:
        listed = ", ".join(f"{s.description or 'no description'} ({len(s.slices)} slices)" for s in found)
        raise ValueError(f"{folder}: holds {len(found)} series, expected one: {listed}")
    damaged = [item for item in rejected if item.damaged and item.series_uid in (None, series_uid)]
    if not found and damaged:
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
        return _series(path.parent, [SliceFile.read(path)])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _series(folder: Path, files: list[SliceFile]) -> Series:
    """The sorted series of some headers with one SeriesInstanceUID.

    Raises:
        NotCTError: If it is something else.
        ValueError: If it is damaged.
    """
    try:
        check_is_ct(files[0].header)
        slices: dict[str, Slice] = {}
        for file in files:
            for item in slices_of(file):
                known = slices.setdefault(item.sop_uid, item)  # a copy under another name is the same slice
                if known.position_mm != item.position_mm:
                    raise ValueError(f"{known.path.name} and {item.path.name} have one SOP Instance UID but differ")
        ordered, distance_mm = stack(list(slices.values()))
        first = files[0].header
        series = Series(
            uid=str(first.SeriesInstanceUID),
            study_uid=str(first.get("StudyInstanceUID", "")),
            description=str(first.get("SeriesDescription", "")),
            folder=folder,
            slices=tuple(ordered),
            spacing_mm=distance_mm,
        )
        series.geometry  # noqa: B018 - raises if the numbers place no volume
        return series
    except ValueError:
        raise
    except Exception as error:  # attributes with the wrong type or count of values
        raise ValueError(f"damaged DICOM: {type(error).__name__}: {first_line(error)}") from error


def _pixels(path: Path) -> np.ndarray:
    """(frames, rows, columns) stored values of a file, or Hounsfield units as float64 if it is compressed."""
    try:
        dataset = pydicom.dcmread(path, force=True)
        if not transfer_syntax(dataset).is_compressed:
            dataset.file_meta.TransferSyntaxUID = transfer_syntax(dataset)
            pixels = dataset.pixel_array
            return pixels if pixels.ndim == 3 else pixels[np.newaxis]
    except (InvalidDicomError, OSError, EOFError, AttributeError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: truncated or damaged pixels: {first_line(error)}") from error
    if "PerFrameFunctionalGroupsSequence" in dataset:
        raise ValueError(f"{path}: compressed multi-frame CT is not read: decompress it (gdcmconv --raw)")
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        return sitk.GetArrayFromImage(reader.Execute()).astype(np.float64)  # GDCM rescales
    except RuntimeError as error:
        raise ValueError(f"{path}: truncated or damaged pixels: {itk_reason(error)}") from error
