"""MetaImage files (.mha, .mhd), read and written with ITK.

SimpleITK is the ITK that opens in a third of a second; the `itk` package takes four seconds to load the same
reader.
"""

from __future__ import annotations

import re
from pathlib import Path

import SimpleITK as sitk

from datastore.geometry import Geometry
from datastore.nrrd_files import check_beside
from datastore.volume import Volume

HEADER_BYTES = 1 << 16


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
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(
            f"{path}: expected one number per voxel, got {image.GetNumberOfComponentsPerPixel()} (colours?)"
        )
    try:
        geometry = Geometry(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Volume(sitk.GetArrayFromImage(image), geometry)


def metaimage_shape(path: Path) -> tuple[int, ...]:
    """Voxels along the array axes, slowest first, as the header says; see `read_metaimage` for the errors."""
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError(f"{path}: cannot be read as MetaImage: {itk_reason(error)}") from error
    return tuple(reversed(reader.GetSize()))


def write_metaimage(mask: Volume, path: Path) -> None:
    """Write voxels as a compressed MetaImage."""
    image = sitk.GetImageFromArray(mask.array)
    image.SetSpacing(mask.geometry.spacing_mm)
    image.SetOrigin(mask.geometry.origin_mm)
    image.SetDirection(mask.geometry.direction)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("MetaImageIO")
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    writer.Execute(image)


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


def itk_reason(error: RuntimeError) -> str:
    """What ITK says went wrong, without its source lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if "ERROR:" in line:
            return line.split("ERROR:", 1)[1].strip()
    return lines[-1] if lines else "no reason given"
