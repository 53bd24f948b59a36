"""NIfTI files (.nii, .nii.gz), read and written with nibabel."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from datastore.geometry import Geometry, Verbatim
from datastore.volume import Volume

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
GRID_FIELDS = (
    *("qform_code", "sform_code", "xyzt_units", "pixdim"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


def read_nifti(path: Path) -> Volume:
    """The voxels of a NIfTI file, scaled as its header says.

    Raises:
        ValueError: If it is not NIfTI, truncated, coloured, or has more than three axes.
    """
    try:
        image = nib.load(path)
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as NIfTI: {first_line(error)}") from error
    if not isinstance(image, nib.Nifti1Image):
        raise ValueError(f"{path}: expected NIfTI, got {type(image).__name__}")
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise ValueError(f"{path}: expected 3 axes (x, y, z), got {len(shape)}: shape {shape}")
    if image.get_data_dtype().fields is not None:
        raise ValueError(f"{path}: expected one number per voxel, got colours {image.get_data_dtype()}")
    data = image.dataobj
    if not isinstance(data, ArrayProxy):
        raise ValueError(f"{path}: expected voxels on disk, got {type(data).__name__}")
    try:
        raw = data.get_unscaled()
    except (OSError, EOFError, zlib.error, ValueError, MemoryError) as error:
        raise ValueError(f"{path}: truncated or damaged: {first_line(error)}") from error
    slope, inter = data.slope, data.inter
    array = np.asarray(raw).reshape(shape).T
    if (slope, inter) != (1.0, 0.0):
        array = array.astype(np.float32) * np.float32(slope) + np.float32(inter)
    header = image.header
    verbatim = Verbatim("nifti", {name: header[name].copy() for name in GRID_FIELDS})
    zooms = tuple(float(value) for value in header.get_zooms()[:3])
    try:
        geometry = Geometry.from_affine(RAS_TO_LPS @ image.affine, _consistent(zooms, image.affine), verbatim)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Volume(array, geometry)


def write_nifti(volume: Volume, path: Path, compression: int = 4) -> None:
    """Write voxels as NIfTI-1, the grid as the source file had it.

    The same voxels give the same bytes: no time and no name goes into the file.

    Args:
        volume: (z, y, x) voxels of a type that NIfTI knows.
        path: Ends with .nii or .nii.gz.
        compression: Of gzip, 1..9.
    """
    affine = RAS_TO_LPS @ volume.geometry.affine
    image = nib.Nifti1Image(volume.array.T, affine, dtype=volume.array.dtype)
    verbatim = volume.geometry.verbatim
    if verbatim is not None and verbatim.format == "nifti":
        for name, value in verbatim.fields.items():
            image.header[name] = value
        image = nib.Nifti1Image(volume.array.T, None, image.header)
    else:
        image.set_sform(affine, code=1)
        image.set_qform(affine, code=1)
        image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    if path.name.lower().endswith(".gz"):
        content = gzip.compress(content, compression, mtime=0)
    path.write_bytes(content)


def first_line(error: Exception) -> str:
    """The first line of an error's message, for a one-line report."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _consistent(zooms: tuple[float, ...], affine: np.ndarray) -> tuple[float, float, float] | None:
    """The header's spacing where it agrees with the affine (it may be stale, the affine is what viewers use)."""
    norms = np.linalg.norm(affine[:3, :3], axis=0)
    if np.allclose(zooms, norms, rtol=1e-4, atol=0):
        return zooms[0], zooms[1], zooms[2]
    return None
