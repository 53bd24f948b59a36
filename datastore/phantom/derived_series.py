"""What a study holds besides volumes: a localizer, slices that wait for contrast medium, reformats, projections.

All are made of the study's main scan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.ndimage

from datastore.phantom.plans import LOCALIZER, MONITORING, PROJECTION, REFORMAT, VOLUME, SeriesPlan
from datastore.volume import Volume

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
UPSIDE_DOWN = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
IMAGE_TYPES = {
    VOLUME: ("ORIGINAL", "PRIMARY", "AXIAL"),
    LOCALIZER: ("ORIGINAL", "PRIMARY", "LOCALIZER"),
    MONITORING: ("ORIGINAL", "PRIMARY", "AXIAL"),
    REFORMAT: ("DERIVED", "SECONDARY", "REFORMATTED", "MPR"),
    PROJECTION: ("DERIVED", "SECONDARY", "AXIAL", "MIP"),
}
"""ImageType by kind of series."""
MONITORED = 10


@dataclass(frozen=True, eq=False)
class Plane:
    """One image of a series.

    Attributes:
        hu: (row, column) int16 Hounsfield units.
        position_mm: (x, y, z) centre of the first pixel, LPS.
        orientation: Direction cosines of a row and of a column.
        pixel_mm: (row, column) distance of the pixels.
    """

    hu: np.ndarray
    position_mm: tuple[float, float, float]
    orientation: tuple[float, ...]
    pixel_mm: tuple[float, float]


def planes(image: Volume, series: SeriesPlan, *, prone: bool = False) -> Iterator[Plane]:
    """The images of a series.

    Args:
        image: (z, y, x) int16 Hounsfield units along LPS: the scan itself for a volume, else the study's main one.
        series: What is made of it.
        prone: Whether axial slices show the patient as he lies, with the back up.
    """
    if series.kind == LOCALIZER:
        yield _localizer(image)
    elif series.kind == REFORMAT:
        yield from _coronal(image, series.increment_mm)
    elif series.kind == MONITORING:
        yield from _monitored(image, series)
    elif series.kind == PROJECTION:
        yield from _projections(image, series)
    else:
        for index in range(len(image.array)):
            yield _axial(image, image.array[index], float(index), prone=prone)


def _axial(image: Volume, hu: np.ndarray, index: float, *, prone: bool = False) -> Plane:
    (x, y, z), (spacing_x, spacing_y, spacing_z) = image.geometry.origin_mm, image.geometry.spacing_mm
    if prone:
        rows, columns = hu.shape
        hu, x, y = hu[::-1, ::-1], x + (columns - 1) * spacing_x, y + (rows - 1) * spacing_y
    return Plane(hu, (x, y, z + index * spacing_z), UPSIDE_DOWN if prone else AXIAL, (spacing_y, spacing_x))


def _localizer(image: Volume) -> Plane:
    """The patient seen from the front: mean attenuation along y, the head up."""
    depth = np.clip(image.array, -1000, 1000).mean(axis=1, dtype=np.float32)[::-1]
    shade = (depth - depth.min()) / max(float(np.ptp(depth)), 1.0) * 1500 - 1000
    x, y, _ = image.geometry.origin_mm
    return Plane(shade.astype(np.int16), (x, y, _top_mm(image)), CORONAL, _coronal_mm(image))


def _coronal(image: Volume, increment_mm: float) -> Iterator[Plane]:
    (x, y, _), spacing_y = image.geometry.origin_mm, image.geometry.spacing_mm[1]
    step = max(1, round(increment_mm / spacing_y))
    for row in range(0, image.array.shape[1], step):
        hu = np.ascontiguousarray(image.array[::-1, row])
        yield Plane(hu, (x, y + row * spacing_y, _top_mm(image)), CORONAL, _coronal_mm(image))


def _monitored(image: Volume, series: SeriesPlan) -> Iterator[Plane]:
    """The same slice again and again: once before the contrast medium, several times while it comes."""
    random = np.random.default_rng([series.seed, 3])
    index = len(image.array) // 2
    smooth = scipy.ndimage.gaussian_filter(image.array[index].astype(np.float32), 1.2)
    for _ in range(1 if series.description.startswith("Pre") else int(random.integers(4, MONITORED))):
        noise = random.normal(0, 12, smooth.shape)
        yield _axial(image, np.clip(smooth + noise, -1024, 3071).astype(np.int16), float(index))


def _projections(image: Volume, series: SeriesPlan) -> Iterator[Plane]:
    """Maxima of slabs."""
    spacing_mm = image.geometry.spacing_mm[2]
    thick, step = (max(1, round(mm / spacing_mm)) for mm in (series.thickness_mm, series.increment_mm))
    for first in range(0, max(1, len(image.array) - thick + 1), step):
        slab = image.array[first : first + thick]
        yield _axial(image, slab.max(axis=0), first + (len(slab) - 1) / 2)


def _top_mm(image: Volume) -> float:
    return image.geometry.origin_mm[2] + (len(image.array) - 1) * image.geometry.spacing_mm[2]


def _coronal_mm(image: Volume) -> tuple[float, float]:
    return image.geometry.spacing_mm[2], image.geometry.spacing_mm[0]
