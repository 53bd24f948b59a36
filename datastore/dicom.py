"""DICOM files: the series in a folder or at a registered place, and their Hounsfield units.

A series is read only when its slices make a volume (`stacking.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from datastore.grouping import Limits, SeriesGroups
from datastore.headers import FIRST_ATTRIBUTES, read_header
from datastore.metaimage import itk_reason
from datastore.orientation import to_lps
from datastore.records import Source
from datastore.series import Rejected, Series, assemble
from datastore.slices import Flaw, Slice, SliceError, facts_of, slices_of
from datastore.volume import Volume
from datastore.walking import walk
from datastore.wording import first_line


def nobody(_patient_id: str) -> str:
    """The key of a patient where nobody asks for one."""
    return ""


def is_dicom(path: Path) -> bool:
    """Whether a file has the DICOM signature, or begins with a DICOM attribute as old exports do.

    Raises:
        OSError: If it cannot be opened.
    """
    if not path.is_file() or is_index(path.name):
        return False
    with open(path, "rb") as file:
        start = file.read(132)
    return start[128:] == b"DICM" or start[:4] in FIRST_ATTRIBUTES


def is_index(name: str) -> bool:
    """Whether a file of that name lists the DICOM files beside it and is none itself."""
    return name.upper() == "DICOMDIR"


def find_series(folder: Path) -> tuple[list[Series], list[Rejected]]:
    """Every series in a folder, headers only, without the folders below.

    Returns:
        The readable CT series and what was left out and why.
    """
    rejected: list[Rejected] = []

    def refused(error: OSError) -> None:
        rejected.append(Rejected(folder, f"cannot be read: {error.strerror}", damaged=True))

    groups = SeriesGroups(nobody, Limits())
    for root, names in walk(os.path.abspath(folder), refused, recursive=False):
        for name in names:
            reason = None if is_index(name) else groups.offer(root, name)
            rejected += [reason] if reason else []
    groups.end_folder()
    results = list(groups.rest())
    found = [item for item in results if isinstance(item, Series)]
    return found, rejected + [item for item in results if isinstance(item, Rejected)]


def series_of(source: Source) -> Series:
    """The series of the files that a source lists, from their headers.

    Raises:
        FileNotFoundError: If one is missing.
        ValueError: If they are no whole volume, or not the series of the source.
    """
    items: list[Slice | Flaw] = []
    for name in source.files:
        path = source.path / name
        items += slices_in(path)
        if items[-1].facts.uid != source.series_uid:
            raise SliceError(f"expected series {source.series_uid}, got {items[-1].facts.uid}", path)
    return assemble(items)


def read_source(source: Source) -> Volume:
    """The Hounsfield units of a DICOM series where it lies; a folder is searched if its files are not listed.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If there is no such series, or it is no complete volume.
    """
    return read_series(series_of(source)) if source.files else read_folder(source.path, source.series_uid)


def read_series(series: Series) -> Volume:
    """The Hounsfield units of a series.

    Returns:
        (z, y, x) int16; z runs along the normal of the slices (rows x columns), which for an axial series
        is superior.

    Raises:
        SliceError: If a slice's pixels cannot be read; the message names its file.
    """
    array = to_lps(series.geometry).room(series.shape, np.int16)
    frames: dict[Path, np.ndarray] = {}
    is_rescaled = False
    for index, item in enumerate(series.slices):
        path = item.path
        if path not in frames:
            frames = {path: _pixels(path, index + 1)}
            is_rescaled = frames[path].dtype == np.float64
        pixels = frames[path][item.frame]
        if pixels.shape != item.shape:
            raise SliceError(f"slice {index + 1} has {pixels.shape} pixels, expected {item.shape}", path)
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
        listed = ", ".join(f"{s.facts.description or 'no description'} ({len(s.slices)} slices)" for s in found)
        raise ValueError(f"{folder}: holds {len(found)} series, expected one: {listed}")
    which = (None, series_uid) if series_uid else {item.series_uid for item in rejected}
    damaged = [item for item in rejected if item.damaged and item.series_uid in which]
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
        return assemble(slices_in(path))
    except SliceError as error:
        raise error if error.path else SliceError(error.reason, path) from error


def slices_in(path: Path, patient_of: Callable[[str], str] = nobody) -> list[Slice | Flaw]:
    """What a DICOM file says of its series and slices.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is damaged, or no DICOM.
    """
    path = Path(os.path.abspath(path))
    try:
        header = read_header(str(path))
        if header is None:
            raise ValueError("not a DICOM file (no DICM signature)")
        return list(slices_of(header, facts_of(header, patient_of), str(path.parent), path.name))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no such file") from error
    except OSError as error:
        raise SliceError(f"cannot be read: {error.strerror}", path) from error
    except ValueError as error:
        raise SliceError(first_line(error), path) from error


def _pixels(path: Path, number: int) -> np.ndarray:
    """(frames, rows, columns) stored values of a file, or Hounsfield units as float64 if it is compressed."""
    try:
        dataset = pydicom.dcmread(path, force=True)
        syntax = _transfer_syntax(dataset)
        if not syntax.is_compressed:
            dataset.file_meta.TransferSyntaxUID = syntax
            pixels = dataset.pixel_array
            return pixels if pixels.ndim == 3 else pixels[np.newaxis]
    except (InvalidDicomError, OSError, EOFError, AttributeError, ValueError, KeyError) as error:
        raise SliceError(f"slice {number}: truncated or damaged pixels: {first_line(error)}", path) from error
    if "PerFrameFunctionalGroupsSequence" in dataset:
        raise SliceError("compressed multi-frame CT is not read: decompress it (gdcmconv --raw)", path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        return sitk.GetArrayFromImage(reader.Execute()).astype(np.float64)  # GDCM rescales
    except RuntimeError as error:
        reason = itk_reason(error).replace(str(path), "its file")
        raise SliceError(f"slice {number}: truncated or damaged pixels: {reason}", path) from error


def _transfer_syntax(dataset: FileDataset) -> UID:
    """How a file's values are written; a file without a header of its own says it by its first attributes."""
    stated = dataset.file_meta.get("TransferSyntaxUID")
    if stated:
        return UID(stated)
    return ImplicitVRLittleEndian if dataset.is_implicit_VR else ExplicitVRLittleEndian
