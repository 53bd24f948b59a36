"""Whether an image file holds a CT, and its grid, from its header and first voxels: thousands are soon indexed."""

from __future__ import annotations

from pathlib import Path

from datastore.geometry import Geometry
from datastore.hounsfield import NotHounsfieldError, are_hounsfield_units
from datastore.image_files import LAYOUTS, check_is_known, named, read_ct, suffix_of
from datastore.layout import PEEK_BYTES, first_voxels, is_whole


def ct_grid(path: Path) -> tuple[tuple[int, int, int], Geometry]:
    """Shape (z, y, x) and grid of a CT scan in an image file.

    A file is read through only if it is small, if its header does not say plainly where the voxels lie and how
    long it ought to be, or if its first slices show neither fat nor air. What is damaged further on is found when
    the scan is read.

    Raises:
        ValueError: If it cannot be read or its numbers are no Hounsfield units; the message names the file.
        FileNotFoundError: If it is not there.
    """
    check_is_known(path)
    layout = named(path, LAYOUTS[suffix_of(path)])
    if layout is not None and layout.is_unsigned:
        raise NotHounsfieldError(f"{path}: not in Hounsfield units: {layout.dtype.name} voxels (a mask?)")
    if layout is not None and layout.voxel_bytes > PEEK_BYTES and is_whole(layout):
        start = layout
        if are_hounsfield_units(named(path, lambda _: first_voxels(start))):
            return layout.shape, layout.geometry
    volume = read_ct(path)
    z, y, x = volume.array.shape
    return (z, y, x), volume.geometry
