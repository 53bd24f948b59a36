"""NIfTI files (.nii, .nii.gz): nibabel reads the headers, the voxels are checked to their last byte."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from datastore.geometry import Geometry, Verbatim
from datastore.layout import Layout
from datastore.orientation import to_lps
from datastore.volume import Volume
from datastore.voxel_stream import read_voxels
from datastore.wording import first_line

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
GRID_FIELDS = (
    *("qform_code", "sform_code", "xyzt_units", "pixdim"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)
SINGLE_FILE_MAGIC = b"n+1", b"n+2"
NO_EXTENSION = bytes(4)  # what follows the header of a file without any
GZIP = zlib.MAX_WBITS | 16
BUFFER_BYTES = 4 << 20


def read_nifti(path: Path) -> Volume:
    """The voxels of a NIfTI file, scaled as its header says.

    nibabel stops reading gzip before its checksum, so a damaged file would pass: here the stream is read to
    its end.

    Raises:
        ValueError: If it is not NIfTI, damaged, coloured, without an orientation, or has more than three axes.
    """
    layout = nifti_layout(path)
    dtype = np.dtype(np.float32) if layout.is_scaled else layout.dtype.newbyteorder("=")
    return read_voxels(layout, lambda planes: planes, dtype)


def nifti_shape(path: Path) -> tuple[int, int, int]:
    """(z, y, x) voxels as the header says, without reading them; see `read_nifti` for the errors."""
    with _opened(path) as file:
        x, y, z = _shape(path, _header(path, file))
    return z, y, x


def nifti_layout(path: Path) -> Layout:
    """Where the voxels lie, by the header alone; see `read_nifti` for the errors."""
    with _opened(path) as file:
        header = _header(path, file)
    x, y, z = _shape(path, header)
    offset, is_gzip = int(header.get_data_offset()), path.name.lower().endswith(".gz")
    slope, inter = header.get_slope_inter()
    return Layout(
        shape=(z, y, x),
        geometry=_geometry(path, header),
        path=path,
        start=0 if is_gzip else offset,
        dtype=_dtype(path, header),
        skip=offset if is_gzip else 0,
        compression="gzip" if is_gzip else "",
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if inter is None else float(inter),
    )


def is_read_alike(path: Path) -> bool:
    """Whether every viewer reads the file as we do.

    ITK knows no NIfTI-2, and where qform and sform place the voxels differently, programs choose differently.
    """
    with _opened(path) as file:
        header = _header(path, file)
    is_second = isinstance(header, nib.Nifti2Header)
    return not is_second and _disagreement_mm(header) <= 0.1 * min(header.get_zooms()[:3])


def write_nifti(volume: Volume, path: Path, compression: int = 4) -> None:
    """Write voxels as NIfTI-1, the grid as the source file had it.

    The same voxels give the same bytes: no time and no name goes into the file. Labels (uint8) are compressed by
    their runs alone: about as fast as gzip's lowest level, and nearly as small as its usual one.

    Args:
        volume: (z, y, x) voxels of a type that NIfTI knows.
        path: Ends with .nii or .nii.gz.
        compression: Of gzip, 1..9; of no account for labels.
    """
    header = _header_for(volume)
    dtype = header.get_data_dtype()
    planes_at_once = max(1, BUFFER_BYTES // (volume.array[0].size * dtype.itemsize))
    strategy = zlib.Z_RLE if dtype == np.uint8 else zlib.Z_DEFAULT_STRATEGY
    packer = zlib.compressobj(compression, zlib.DEFLATED, GZIP, zlib.DEF_MEM_LEVEL, strategy)
    is_gzip = path.name.lower().endswith(".gz")
    with open(path, "wb") as file:
        start = header.binaryblock + NO_EXTENSION
        file.write(packer.compress(start) if is_gzip else start)
        for first in range(0, len(volume.array), planes_at_once):
            planes = np.ascontiguousarray(volume.array[first : first + planes_at_once], dtype).data
            file.write(packer.compress(planes) if is_gzip else planes)
        if is_gzip:
            file.write(packer.flush())


def _header_for(volume: Volume) -> nib.Nifti1Header:
    """The header of a file that holds these voxels as they are."""
    affine = RAS_TO_LPS @ volume.geometry.affine
    verbatim = volume.geometry.verbatim
    voxels = np.broadcast_to(np.zeros((), volume.array.dtype), volume.array.shape[::-1])  # takes no room
    image = nib.Nifti1Image(voxels, affine, dtype=volume.array.dtype)
    if verbatim is not None and verbatim.format == "nifti":
        for name, value in verbatim.fields.items():
            image.header[name] = value
        image = nib.Nifti1Image(voxels, None, image.header)
    else:
        image.set_sform(affine, code=1)
        image.set_qform(affine, code=1)
        image.header.set_xyzt_units("mm")
    header = image.header
    header.set_data_offset(header.single_vox_offset)
    header.set_slope_inter(1.0, 0.0)
    return header


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb")  # type: ignore[return-value]


def _header(path: Path, file: BinaryIO) -> nib.Nifti1Header:
    try:
        length = int.from_bytes(file.read(4), "little")
        file.seek(0)
        kind = (
            nib.Nifti2Header
            if length in (540, int.from_bytes((540).to_bytes(4, "big"), "little"))
            else nib.Nifti1Header
        )
        header = kind.from_fileobj(file)
    except (HeaderDataError, WrapStructError, OSError, EOFError, zlib.error, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as NIfTI: {first_line(error)}") from error
    if bytes(header["magic"])[:3] not in SINGLE_FILE_MAGIC:
        raise ValueError(f"{path}: cannot be read as NIfTI: expected one file (n+1), got {header['magic']}")
    return header


def _shape(path: Path, header: nib.Nifti1Header) -> tuple[int, int, int]:
    shape = tuple(int(size) for size in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3:
        raise ValueError(f"{path}: expected 3 axes (x, y, z), got {len(shape)}: shape {shape}")
    if min(shape) < 1:
        raise ValueError(f"{path}: expected voxels along every axis, got shape {shape}")
    return shape[0], shape[1], shape[2]


def _dtype(path: Path, header: nib.Nifti1Header) -> np.dtype:
    dtype = header.get_data_dtype()
    if dtype.fields is not None or dtype.kind not in "iuf":
        raise ValueError(f"{path}: expected one number per voxel, got {dtype}")
    return dtype


def _geometry(path: Path, header: nib.Nifti1Header) -> Geometry:
    if not header["qform_code"] and not header["sform_code"]:
        raise ValueError(f"{path}: has no orientation (qform_code and sform_code are 0): right and left cannot be told")
    if header.get_xyzt_units()[0] not in ("mm", "unknown"):
        raise ValueError(f"{path}: expected lengths in mm, got {header.get_xyzt_units()[0]}")
    zooms = tuple(float(value) for value in header.get_zooms()[:3])
    verbatim = None
    if not isinstance(header, nib.Nifti2Header):  # whose numbers are longer than those of NIfTI-1
        verbatim = Verbatim("nifti", {field: header[field].copy() for field in GRID_FIELDS})
    affine = header.get_best_affine()
    norms = np.linalg.norm(affine[:3, :3], axis=0)
    spacing_mm = (zooms[0], zooms[1], zooms[2]) if np.allclose(zooms, norms, rtol=1e-4, atol=0) else None
    try:
        geometry = Geometry.from_affine(RAS_TO_LPS @ affine, spacing_mm, verbatim)
        if _disagreement_mm(header) > 0 and header["qform_code"] and header["sform_code"]:
            other = Geometry.from_affine(RAS_TO_LPS @ header.get_qform())
            if to_lps(other) != to_lps(geometry):
                raise ValueError("qform and sform name different orientations: right and left cannot be told")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return geometry


def _disagreement_mm(header: nib.Nifti1Header) -> float:
    """Largest distance between a corner by the qform and by the sform; 0 if only one is set."""
    if not header["qform_code"] or not header["sform_code"]:
        return 0.0
    nx, ny, nz = (int(size) - 1 for size in header.get_data_shape()[:3])
    corners = np.array([[i, j, k, 1.0] for i in (0, nx) for j in (0, ny) for k in (0, nz)])
    moved = corners @ (header.get_qform() - header.get_sform()).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max())
