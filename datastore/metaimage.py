"""MetaImage files (.mha, .mhd), read and written with ITK.

SimpleITK is the ITK that opens in a third of a second; the `itk` package takes four seconds to load the same
reader.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from datastore.atomic import write_bytes
from datastore.geometry import Geometry
from datastore.layout import Layout
from datastore.nrrd_files import check_beside
from datastore.volume import Volume

HEADER_BYTES = 1 << 16
DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


def read_metaimage(path: Path) -> Volume:
    """The voxels of a MetaImage file.

    Raises:
        ValueError: If it cannot be read, is coloured, or has not three axes.
    """
    reader = _reader(path)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise ValueError(f"{path}: cannot be read as MetaImage: {itk_reason(error)}") from error
    if image.GetDimension() != 3:
        raise ValueError(f"{path}: expected 3 axes (x, y, z), got {image.GetDimension()}: {image.GetSize()}")
    components = image.GetNumberOfComponentsPerPixel()
    if components != 1:
        raise ValueError(f"{path}: expected one number per voxel, got {components} (colours?)")
    return Volume(sitk.GetArrayFromImage(image), _geometry(path, image))


def metaimage_shape(path: Path) -> tuple[int, ...]:
    """Voxels along the array axes, slowest first, as the header says; see `read_metaimage` for the errors."""
    return tuple(reversed(_informed_reader(path).GetSize()))


def metaimage_layout(path: Path) -> Layout | None:
    """Where the voxels lie, by the header alone, or None if it is not simple; see `read_metaimage` for the errors."""
    reader = _informed_reader(path)
    fields, end = _fields(path)
    dtype = DTYPES.get(fields.get("ElementType", ""))
    is_simple = reader.GetDimension() == 3 and reader.GetNumberOfComponents() == 1
    is_text = fields.get("BinaryData", "True") != "True"
    if dtype is None or not is_simple or is_text or "HeaderSize" in fields or "ElementDataFile" not in fields:
        return None
    x, y, z = reader.GetSize()
    big_endian = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    is_compressed = fields.get("CompressedData") == "True"
    stated = fields.get("CompressedDataSize", "")
    name = fields["ElementDataFile"]
    return Layout(
        shape=(z, y, x),
        geometry=_geometry(path, reader),
        path=path if name.upper() == "LOCAL" else path.parent / name,
        start=end if name.upper() == "LOCAL" else 0,
        dtype=np.dtype((">" if big_endian == "True" else "<") + dtype),
        compression="zlib" if is_compressed else "",
        compressed_bytes=int(stated) if stated.isdecimal() else None,
    )


def write_metaimage(mask: Volume, path: Path) -> None:
    """Write voxels as a compressed MetaImage.

    Raises:
        OSError: If it cannot be written.
    """
    image = sitk.GetImageFromArray(mask.array)
    image.SetSpacing(mask.geometry.spacing_mm)
    image.SetOrigin(mask.geometry.origin_mm)
    image.SetDirection(mask.geometry.direction)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("MetaImageIO")
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    try:
        writer.Execute(image)
    except RuntimeError as error:
        raise OSError(f"cannot be written as MetaImage: {itk_reason(error).split('Reason: ')[-1]}") from error


def write_metaimage_pair(mask: Volume, header: Path) -> bool:
    """Write voxels as a header (.mhd) and, compressed, the file beside it that the header names (.zraw).

    The header comes last: where it is, its voxels are. The same voxels on the same grid give the same bytes, so files
    that are there already and hold just these stay.

    Returns:
        Whether anything had to be written.

    Raises:
        FileExistsError: If one of the two is there and holds something else. Nothing is changed then.
        OSError: If they cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "mask.mha"
        write_metaimage(mask, made)
        _, end = _fields(made)
        content = made.read_bytes()
    voxels = header.with_suffix(".zraw")
    words = content[:end].replace(b"ElementDataFile = LOCAL", b"ElementDataFile = " + os.fsencode(voxels.name))
    wanted = {voxels: content[end:], header: words}
    for path, there in wanted.items():
        if path.exists() and path.read_bytes() != there:
            raise FileExistsError(f"{path}: exists already, with other content: it is left as it is")
    missing = [path for path in wanted if not path.exists()]
    for path in missing:
        write_bytes(path, wanted[path])
    return bool(missing)


def _reader(path: Path) -> sitk.ImageFileReader:
    """ITK's reader, once it is certain that the header leads it to no other file.

    ITK takes the name of the data file as a printf pattern and as a list of files, wherever they lie.
    """
    with open(path, "rb") as file:
        match = re.search(rb"^\s*ElementDataFile\s*=\s*(.*?)\s*$", file.read(HEADER_BYTES), re.MULTILINE)
    if match is None:
        raise ValueError(f"{path}: cannot be read as MetaImage: no ElementDataFile in its header")
    name = match[1].decode("utf-8", "replace")
    if name.upper() != "LOCAL":
        if path.suffix.lower() != ".mhd":
            raise ValueError(f"{path}: expected voxels in the file itself, got ElementDataFile = {name[:80]!r}")
        check_beside(path, name)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
    return reader


def _informed_reader(path: Path) -> sitk.ImageFileReader:
    """ITK's reader after it has read the header."""
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError(f"{path}: cannot be read as MetaImage: {itk_reason(error)}") from error
    return reader


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The header's fields, and where it ends; ElementDataFile is the last."""
    with open(path, "rb") as file:
        start = file.read(HEADER_BYTES)
    fields: dict[str, str] = {}
    for match in re.finditer(rb"^[ \t]*(\w+)[ \t]*=[ \t]*(.*?)[ \t\r]*$\n?", start, re.MULTILINE):
        name = match[1].decode("ascii", "replace")
        fields[name] = match[2].decode("utf-8", "replace")
        if name == "ElementDataFile":
            return fields, match.end()
    return fields, len(start)


def _geometry(path: Path, image: sitk.Image | sitk.ImageFileReader) -> Geometry:
    try:
        return Geometry(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def itk_reason(error: RuntimeError) -> str:
    """What ITK says went wrong, without its source lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if "ERROR:" in line:
            return line.split("ERROR:", 1)[1].strip()
    return lines[-1] if lines else "no reason given"
