"""A simple synthetic chest CT with true lung masks, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy.ndimage as ndimage

from datastore.geometry import Geometry
from datastore.phantom.chest_anatomy import ChestAnatomy, Point, Tube, draw_anatomy
from datastore.volume import Volume

AIR_HU, FAT_HU, MUSCLE_HU, LIVER_HU, SPLEEN_HU = -1000.0, -100.0, 50.0, 60.0, 45.0
AIRWAY_HU, STOMACH_HU, MARROW_HU, CORTEX_HU, DISC_HU = -985.0, 20.0, 180.0, 420.0, 80.0
FOAM_HU, TABLE_HU = -920.0, 0.0
BLUR_MM = 0.7
WALL_MM = 2.0
RIB_STEP_MM = 26.0


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic chest CT and its truth.

    Attributes:
        image: (z, y, x) int16 Hounsfield units, axes along LPS.
        lungs: (z, y, x) uint8: 0 background, 1 right lung, 2 left lung; vessels and lesion belong to the
            lung, trachea and main bronchi do not.
        lesion: (z, y, x) uint8: 1 in a dense lesion; None where none was asked for.
    """

    image: Volume
    lungs: Volume
    lesion: Volume | None


def chest_phantom(
    seed: int,
    shape: tuple[int, int, int] = (64, 128, 128),
    spacing_mm: tuple[float, float, float] = (5.0, 3.0, 3.0),
    *,
    lesion: bool = False,
) -> Phantom:
    """Make a chest of natural size around the centre of the grid; a small grid shows a part of it.

    Args:
        seed: The same seed, shape and spacing give the same voxels.
        shape: (z, y, x) voxels.
        spacing_mm: (z, y, x) voxel size in mm.
        lesion: Whether one lung carries a dense mass (20 to 60 HU) if lung is in view.

    Raises:
        ValueError: If a size or a spacing is not above 0.

    >>> sorted(np.unique(chest_phantom(seed=1).lungs.array).tolist())
    [0, 1, 2]
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"expected shape as three sizes above 0 (z, y, x), got {shape}")
    if len(spacing_mm) != 3 or not min(spacing_mm) > 0:
        raise ValueError(f"expected spacing_mm as three numbers above 0 (z, y, x), got {spacing_mm}")
    random = np.random.default_rng(seed)
    anatomy = draw_anatomy(random)
    z_mm, y_mm, x_mm = (_centred_mm(size, step) for size, step in zip(shape, spacing_mm, strict=True))
    hu = np.empty(shape, np.float32)
    lungs = np.zeros(shape, np.uint8)
    y, x = y_mm[:, None], x_mm[None, :]
    for index, z in enumerate(z_mm):
        hu[index], lungs[index] = _slice(anatomy, float(z), y, x)
    axes = (z_mm, y_mm, x_mm)
    _paint(hu, axes, anatomy.vessels, 0.0, anatomy.blood_hu, within=lungs > 0)
    _paint(hu, axes, anatomy.airways, WALL_MM, 30.0, lungs=lungs)
    _paint(hu, axes, anatomy.airways, 0.0, AIRWAY_HU)
    lesion_mask = _add_lesion(hu, lungs, axes, random) if lesion else None
    _expose(hu, spacing_mm, anatomy.noise_hu, random)
    geometry = Geometry(
        spacing_mm=(spacing_mm[2], spacing_mm[1], spacing_mm[0]),
        origin_mm=(float(x_mm[0]), float(y_mm[0]), float(z_mm[0])),
    )
    image = Volume(np.clip(np.rint(hu, out=hu), -1024, 3071, out=hu).astype(np.int16), geometry)
    return Phantom(image, image.with_array(lungs), None if lesion_mask is None else image.with_array(lesion_mask))


def _centred_mm(size: int, step_mm: float) -> np.ndarray:
    return ((np.arange(size) - (size - 1) / 2) * step_mm).astype(np.float32)


def _slice(anatomy: ChestAnatomy, z: float, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hounsfield units and lung labels of one axial slice, without tubes and lesion."""
    depth, width = anatomy.cavity_mm
    hu = np.full((y.size, x.size), AIR_HU, np.float32)
    _add_table(hu, anatomy, y, x)
    in_body = _ellipse(y, x, (0, 0), anatomy.body_mm)
    inner = (anatomy.body_mm[0] - anatomy.fat_mm, anatomy.body_mm[1] - anatomy.fat_mm)
    hu[in_body] = FAT_HU
    hu[_ellipse(y, x, (0, 0), inner)] = MUSCLE_HU
    _add_ribs(hu, anatomy, z, y, x)
    cavity = _ellipse(y, x, (0, 0), (depth, width))
    lungs = np.zeros(hu.shape, np.uint8)
    below = np.zeros(hu.shape, bool)
    for side in (0, 1):
        sign = 2 * side - 1
        half = cavity & (sign * x > 0)
        taper = np.sqrt(np.clip((anatomy.apex_z_mm[side] - z) / 110.0, 0, 1.6))
        apex = _ellipse(y, x, (8, sign * 58), (110 * taper, 85 * taper)) if taper > 0 else np.zeros_like(half)
        dome = anatomy.dome_z_mm[side] - anatomy.dome_depth_mm * (((x - sign * 55) / 75) ** 2 + ((y + 25) / 100) ** 2)
        under = half & (z < dome)
        below |= under
        hu[under] = LIVER_HU if side == 0 else SPLEEN_HU
        half_width = 5 + 17 * np.exp(-(((y - 8) / 38) ** 2)) if z > anatomy.dome_z_mm[side] else 22.0
        mediastinum = sign * x < half_width
        lung = half & apex & ~under & ~mediastinum & (z > -150)
        lungs[lung] = side + 1
    lungs[_mediastinal_organs(hu, anatomy, z, y, x, below)] = 0
    for side in (0, 1):
        gravity_hu = np.broadcast_to(25.0 * y / depth, hu.shape)
        lung = lungs == side + 1
        hu[lung] = anatomy.lung_hu[side] + gravity_hu[lung]
    return hu, lungs


def _ellipse(y: np.ndarray, x: np.ndarray, centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    return ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1.0


def _mediastinal_organs(
    hu: np.ndarray, anatomy: ChestAnatomy, z: float, y: np.ndarray, x: np.ndarray, below: np.ndarray
) -> np.ndarray:
    """Paint heart, aorta, spine and stomach into a slice; what they cover of it."""
    covered = np.zeros(hu.shape, bool)
    z0, y0, x0 = anatomy.heart_mm
    rz, ry, rx = anatomy.heart_radii_mm
    height = 1.0 - ((z - z0) / rz) ** 2
    if height > 0:
        heart = _ellipse(y, x, (y0, x0), (ry * height**0.5, rx * height**0.5)) & ~below
        hu[heart] = anatomy.blood_hu
        covered |= heart
    depth = anatomy.cavity_mm[0]
    aorta = _ellipse(y, x, (depth - 48, 20), (11, 11))
    hu[aorta] = anatomy.blood_hu
    flesh = _ellipse(y, x, (depth - 14, 0), (25, 24))
    hu[flesh] = MUSCLE_HU
    vertebra = _ellipse(y, x, (depth - 18, 0), (15, 18))
    is_disc = (z - anatomy.rib_phase_mm) % RIB_STEP_MM < 6
    hu[vertebra] = DISC_HU if is_disc else CORTEX_HU
    if not is_disc:
        hu[_ellipse(y, x, (depth - 18, 0), (13, 16))] = MARROW_HU
        hu[(abs(x) < 4) & (y > depth + 6) & (y < depth + 6 + 0.6 * (anatomy.body_mm[0] - depth))] = CORTEX_HU
    hu[_ellipse(y, x, (depth + 4, 0), (7, 8))] = 30.0
    _add_stomach(hu, anatomy, z, y, x, below)
    return covered | aorta | flesh | vertebra


def _add_stomach(
    hu: np.ndarray, anatomy: ChestAnatomy, z: float, y: np.ndarray, x: np.ndarray, below: np.ndarray
) -> None:
    z0 = anatomy.dome_z_mm[1] - 52
    height = 1.0 - ((z - z0) / 42) ** 2
    if height <= 0:
        return
    stomach = _ellipse(y, x, (-28, 62), (40 * height**0.5, 38 * height**0.5)) & below
    hu[stomach] = STOMACH_HU
    hu[stomach & (y < -68 + anatomy.stomach_gas_mm)] = AIR_HU


def _add_ribs(hu: np.ndarray, anatomy: ChestAnatomy, z: float, y: np.ndarray, x: np.ndarray) -> None:
    """Ribs fall from the spine to the front; the sternum lies before the heart."""
    depth, width = anatomy.cavity_mm
    wall = _ellipse(y, x, (0, 0), (depth + 9, width + 9)) & ~_ellipse(y, x, (0, 0), (depth + 2, width + 2))
    rib = (z - 0.35 * y - anatomy.rib_phase_mm) % RIB_STEP_MM < 9
    if z < 135:
        hu[wall & rib & (y > -0.75 * depth)] = CORTEX_HU
    if z > anatomy.heart_mm[0] - 20:
        hu[_ellipse(y, x, (-depth - 8, 0), (6, 18))] = MARROW_HU


def _add_table(hu: np.ndarray, anatomy: ChestAnatomy, y: np.ndarray, x: np.ndarray) -> None:
    """A shallow trough of foam in a thin shell, a few mm below the back."""
    below_top = y - (anatomy.body_mm[0] + 6 - x**2 / 900)
    on_table = (below_top > 0) & (below_top < 28) & (abs(x) < 200)
    hu[on_table] = FOAM_HU
    hu[on_table & ((below_top < 3) | (below_top > 25))] = TABLE_HU


def _paint(
    hu: np.ndarray,
    axes: tuple[np.ndarray, np.ndarray, np.ndarray],
    tubes: Iterable[Tube],
    wall_mm: float,
    value_hu: float,
    *,
    within: np.ndarray | None = None,
    lungs: np.ndarray | None = None,
) -> None:
    """Set the voxels of some tubes, each widened by `wall_mm`; take them out of `lungs` where given."""
    for tube in tubes:
        reach = tube.radius_mm + wall_mm
        ends = zip(tube.start_mm, tube.end_mm, axes, strict=True)
        box = tuple(
            slice(*(int(place) for place in np.searchsorted(axis, (min(a, b) - reach, max(a, b) + reach))))
            for a, b, axis in ends
        )
        z, y, x = np.ix_(*(axis[part] for axis, part in zip(axes, box, strict=True)))
        inside = _distance_squared(z, y, x, tube) < reach**2
        if within is not None:
            inside &= within[box]
        if lungs is not None:
            lungs[box][inside] = 0
        hu[box][inside] = value_hu


def _distance_squared(z: np.ndarray, y: np.ndarray, x: np.ndarray, tube: Tube) -> np.ndarray:
    """Squared distance in mm2 of grid points to the axis of a tube."""
    z0, y0, x0 = tube.start_mm
    dz, dy, dx = (end - start for end, start in zip(tube.end_mm, tube.start_mm, strict=True))
    along = np.clip(((z - z0) * dz + (y - y0) * dy + (x - x0) * dx) / (dz * dz + dy * dy + dx * dx), 0.0, 1.0)
    return (z - z0 - along * dz) ** 2 + (y - y0 - along * dy) ** 2 + (x - x0 - along * dx) ** 2


def _add_lesion(
    hu: np.ndarray,
    lungs: np.ndarray,
    axes: tuple[np.ndarray, np.ndarray, np.ndarray],
    random: np.random.Generator,
) -> np.ndarray:
    """One dense ellipsoid about a random voxel of the lung, cut to the lung; its (z, y, x) uint8 mask."""
    mask = np.zeros(lungs.shape, np.uint8)
    places = np.flatnonzero(lungs)
    if not len(places):
        return mask
    index = np.unravel_index(places[random.integers(len(places))], lungs.shape)
    centre: Point = (
        float(axes[0][index[0]]),
        float(axes[1][index[1]]),
        float(axes[2][index[2]]),
    )
    radii = random.uniform(14, 32, 3)
    offsets = [((axis - middle) / radius) ** 2 for axis, middle, radius in zip(axes, centre, radii, strict=True)]
    z, y, x = np.ix_(*offsets)
    inside = (z + y + x < 1.0) & (lungs == lungs[index])
    mask[inside] = 1
    hu[inside] = random.uniform(20, 60)
    return mask


def _expose(
    hu: np.ndarray, spacing_mm: tuple[float, float, float], noise_hu: float, random: np.random.Generator
) -> None:
    """Blur in plane as a scanner does and add noise, slice by slice."""
    sigma = (BLUR_MM / spacing_mm[1], BLUR_MM / spacing_mm[2])
    for index in range(len(hu)):
        ndimage.gaussian_filter(hu[index], sigma, output=hu[index], mode="nearest")
        hu[index] += noise_hu * random.standard_normal(hu.shape[1:], dtype=np.float32)
