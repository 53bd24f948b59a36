"""The front door for files: a scan or a mask in, whatever its format, and masks out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from datastore import dicom, metaimage, nifti, nrrd_files
from datastore.atomic import atomic_path
from datastore.hounsfield import HounsfieldUnits, NotHounsfieldError, hounsfield_units
from datastore.labels import LUNGS
from datastore.layout import Layout
from datastore.records import Source
from datastore.volume import Volume
from datastore.voxel_stream import can_be_streamed, read_voxels
from datastore.wording import first_line, raised_at

logger = logging.getLogger(__name__)

READERS: dict[str, Callable[[Path], Volume]] = {
    ".nii.gz": nifti.read_nifti,
    ".nii": nifti.read_nifti,
    ".seg.nrrd": nrrd_files.read_nrrd,
    ".nrrd": nrrd_files.read_nrrd,
    ".nhdr": nrrd_files.read_nrrd,
    ".mha": metaimage.read_metaimage,
    ".mhd": metaimage.read_metaimage,
}
SHAPES: dict[str, Callable[[Path], tuple[int, ...]]] = {
    ".nii.gz": nifti.nifti_shape,
    ".nii": nifti.nifti_shape,
    ".seg.nrrd": nrrd_files.nrrd_shape,
    ".nrrd": nrrd_files.nrrd_shape,
    ".nhdr": nrrd_files.nrrd_shape,
    ".mha": metaimage.metaimage_shape,
    ".mhd": metaimage.metaimage_shape,
}
LAYOUTS: dict[str, Callable[[Path], Layout | None]] = {
    ".nii.gz": nifti.nifti_layout,
    ".nii": nifti.nifti_layout,
    ".seg.nrrd": nrrd_files.nrrd_layout,
    ".nrrd": nrrd_files.nrrd_layout,
    ".nhdr": nrrd_files.nrrd_layout,
    ".mha": metaimage.metaimage_layout,
    ".mhd": metaimage.metaimage_layout,
}
DETACHED = {".mhd", ".nhdr"}  # a header that names another file: never taken from the network
WRITERS: dict[str, Callable[[Volume, Path], None]] = {
    ".nii.gz": nifti.write_nifti,
    ".seg.nrrd": lambda mask, path: nrrd_files.write_segmentation(mask, path, LUNGS),
    ".nrrd": nrrd_files.write_nrrd,
    ".mha": metaimage.write_metaimage,
    ".nii": nifti.write_nifti,
}


def is_image_name(name: str) -> bool:
    """Whether a file name has a known suffix."""
    return name.lower().endswith(tuple(READERS))


def suffix_of(path: Path) -> str:
    """The known suffix that a file name ends with (`.nii.gz`, `.seg.nrrd`, ...), or "" """
    name = path.name.lower()
    return next((suffix for suffix in READERS if name.endswith(suffix)), "")


def stem_of(path: Path) -> str:
    """A file's name without its known suffix."""
    return path.name[: len(path.name) - len(suffix_of(path))] if suffix_of(path) else path.name


def read_volume(path: Path) -> Volume:
    """A file's voxels as they are stored, without a check of what they mean.

    Args:
        path: NIfTI, MetaImage, NRRD or DICOM file.

    Raises:
        ValueError: If the file is empty, damaged or of another kind; the message names it.
        FileNotFoundError: If it is not there.
    """
    check_is_known(path)
    reader = READERS.get(suffix_of(path), dicom.read_file)
    return named(path, reader)


def stored_shape(path: Path) -> tuple[int, ...]:
    """Voxels along a file's array axes, slowest first, from its header alone; see `read_volume` for the errors."""
    check_is_known(path)
    shape_of = SHAPES.get(suffix_of(path), lambda path: dicom.series_of_file(path).shape)
    return named(path, shape_of)


def check_is_known(path: Path) -> None:
    """Refuse what is not there, empty, or of no known kind; see `read_volume` for the errors."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        raise ValueError(f"{path}: expected a file, got a folder")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: empty file (0 bytes)")
    if not suffix_of(path) and not dicom.is_dicom(path):
        known = " ".join(suffix for suffix in READERS if suffix != ".seg.nrrd")
        raise ValueError(f"{path}: unknown kind of file: expected {known} or DICOM")


def read_ct(source: Source | Path, series_uid: str | None = None) -> Volume:
    """A CT scan in Hounsfield units.

    Args:
        source: A registered place; or a file, or a folder that holds one DICOM series.
        series_uid: Which series, where a folder holds several.

    Returns:
        (z, y, x) int16 Hounsfield units in the file's own axis order.

    Raises:
        ValueError: If it cannot be read or its numbers are no Hounsfield units; the message names the file.
        FileNotFoundError: If it, or one of its slices, is not there.
    """
    if isinstance(source, Path):
        source = Source(source, series_uid)
    if source.files or source.path.is_dir():
        return as_hounsfield_units(dicom.read_source(source), source.path)
    streamed = _streamed_ct(source.path)
    return as_hounsfield_units(read_volume(source.path), source.path) if streamed is None else streamed


def _streamed_ct(path: Path) -> Volume | None:
    """A CT scan of an image file, one copy of its voxels at a time; None where its format's own reader has to do it."""
    check_is_known(path)
    layout_of = LAYOUTS.get(suffix_of(path))
    layout = None if layout_of is None else named(path, layout_of)
    if layout is None or not can_be_streamed(layout):
        return None
    units = HounsfieldUnits()
    try:
        volume = named(path, lambda _: read_voxels(layout, units.take, np.int16))
    except ValueError:
        if layout_of is nifti.nifti_layout:
            raise
        return None  # it says what is wrong in its own words, or is less strict
    with _naming(path):
        units.check()
    return volume


def as_hounsfield_units(volume: Volume, path: Path) -> Volume:
    """A volume with whole Hounsfield units (int16); see `read_ct` for the errors."""
    with _naming(path):
        return volume.with_array(hounsfield_units(volume.array))


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Says which file holds no Hounsfield units."""
    try:
        yield
    except NotHounsfieldError as error:
        raise NotHounsfieldError(f"{path}: {error}") from error


def read_mask(path: Path) -> Volume:
    """A mask of whole numbers 0..255.

    Returns:
        (z, y, x) uint8 in the file's own axis order and numbering.

    Raises:
        ValueError: If it cannot be read, or a voxel is no whole number in 0..255.
    """
    volume = read_volume(path)
    array = volume.array
    if array.dtype != np.uint8:
        low, high = array.min(), array.max()
        if not (low >= 0 and high <= 255):  # also true of NaN
            raise ValueError(f"{path}: label value {high if low >= 0 else low:g} is outside 0..255")
        whole = array.astype(np.uint8)
        if array.dtype.kind == "f" and not np.array_equal(whole, array):
            raise ValueError(f"{path}: expected whole numbers in a mask, got fractions")
        array = whole
    return volume.with_array(array)


def write_mask(mask: Volume, path: Path, *, overwrite: bool = False) -> None:
    """Write a mask in the format that the file name asks for, atomically.

    Args:
        mask: (z, y, x) uint8 labels.
        path: Ends with .nii.gz, .nii, .nrrd, .seg.nrrd or .mha.
        overwrite: Whether an existing file may be replaced.

    Raises:
        ValueError: If the suffix is none of these.
        FileExistsError: If the file exists and `overwrite` is not given.
    """
    write = mask_writer(path)
    with atomic_path(path, overwrite=overwrite) as temporary:
        write(mask, temporary)


def mask_writer(path: Path) -> Callable[[Volume, Path], None]:
    """What writes a mask in the format that a file name asks for, not atomically.

    Raises:
        ValueError: If the suffix is none that masks are written in.
    """
    writer = WRITERS.get(suffix_of(path))
    if writer is None:
        raise ValueError(f"{path}: unknown mask format: expected a name ending with {' '.join(WRITERS)}")
    return writer


T = TypeVar("T")


def named(path: Path, read: Callable[[Path], T]) -> T:
    """What a parser makes of a file; whatever it raises on damaged bytes says that this file cannot be read."""
    try:
        return read(path)
    except ValueError as error:
        if str(path) in str(error) or path.name in str(error):
            raise
        raise ValueError(f"{path}: {error}") from error
    except OSError:
        raise
    except Exception as error:
        logger.info("a file could not be read: %s", raised_at(error))
        raise ValueError(f"{path}: cannot be read: {type(error).__name__}: {first_line(error)}") from error
