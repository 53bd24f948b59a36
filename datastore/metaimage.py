"""MetaImage files (.mha, .mhd), read and written with ITK.

SimpleITK is the ITK that opens in a third of a second; the `itk` package takes four seconds to load the same
reader.
"""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from datastore.geometry import Geometry
from datastore.volume import Volume


def read_metaimage(path: Path) -> Volume:
    """The voxels of a MetaImage file.

    Raises:
        ValueError: If it cannot be read, is coloured, or has not three axes.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("MetaImageIO")
    reader.SetFileName(str(path))
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


def itk_reason(error: RuntimeError) -> str:
    """What ITK says went wrong, without its source lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if "ERROR:" in line:
            return line.split("ERROR:", 1)[1].strip()
    return lines[-1] if lines else "no reason given"
