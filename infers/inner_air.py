"""Air inside the patient's body, told from the air around it and from gas in bowel, stomach or sinuses."""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
import scipy.ndimage as ndimage

from infers.coarse_grid import CoarseGrid
from infers.morphology import closed, dilated, eroded

IN_PLANE = np.zeros((3, 3, 3), bool)
IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)
TISSUE_HU = -300
AIR_HU = -450


@dataclass(frozen=True)
class InnerAir:
    """Air in a CT that may be lung or airway.

    Attributes:
        mask: (z, y, x) bool, all of it.
        gas: (z, y, x) bool, the part of `mask` that is bowel or other enclosed gas, and often the trachea.
        body: (z, y, x) bool, soft tissue and bone of the patient, without the air inside.
        level_hu: What this scanner calls air, from the air around the patient; -1000 where none is seen.
    """

    mask: np.ndarray
    gas: np.ndarray
    body: np.ndarray
    level_hu: float


def find_inner_air(
    hu: np.ndarray, padding: np.ndarray, spacing_mm: tuple[float, float, float], *, may_be_cut: bool = True
) -> InnerAir:
    """Find air enclosed by the body, including lungs cut by the edge of the field of view.

    Air that reaches the image's side in its own axial slice is outside, unless as a whole it is too dense
    for air and lies against the body, as a truncated lung does. Going slice by slice keeps lungs apart
    from the room where trachea, mouth and nose connect them.

    Args:
        hu: (z, y, x) float32 Hounsfield units on a grid of about 2 mm.
        padding: (z, y, x) bool, voxels outside the reconstructed field of view.
        spacing_mm: (z, y, x) voxel size in mm.
        may_be_cut: Whether air at the image's side may be a lung that the field of view cuts off.
    """
    if padding.any():
        padding = ndimage.binary_dilation(padding, IN_PLANE)
    air = (hu < AIR_HU) & ~padding
    open_air = _open_air(air, padding)
    level_hu = _air_level(hu[open_air])
    body = _body(hu, spacing_mm)
    mask = air & ~open_air
    outside_count = 0
    for box, inside in _components(open_air, spacing_mm, smallest_ml=2.0):
        if may_be_cut and np.percentile(hu[box][inside], 25) > level_hu + 12:
            mask[box] |= inside
        else:
            outside_count += np.count_nonzero(inside)
    is_inner_field = outside_count < 0.15 * np.count_nonzero(~padding)
    ahead, behind, right, left = _body_towards(body)
    for box, inside in _components(mask, spacing_mm, smallest_ml=0.0):
        on_sides = [float(body_there[box][inside].mean()) for body_there in (ahead, behind, right, left)]
        is_table = abs(on_sides[0] - on_sides[1]) > 0.6
        is_cut = is_inner_field and not is_table and _has_vessels(hu[box], inside, spacing_mm)
        if sum(on_sides) < 2.5 and not is_cut:
            mask[box] &= ~inside
    return InnerAir(mask, _enclosed_gas(hu, mask, level_hu, spacing_mm), body, level_hu)


def _open_air(air: np.ndarray, padding: np.ndarray) -> np.ndarray:
    """Air that reaches the side of the image or its padding within its slice, through gaps above 1 voxel."""
    side = ndimage.binary_dilation(padding, IN_PLANE) if padding.any() else np.zeros_like(air)
    side[:, [0, -1]] = True
    side[:, :, [0, -1]] = True
    wide = ndimage.binary_erosion(air, IN_PLANE, border_value=1)
    labels, count = ndimage.label(wide, IN_PLANE)
    is_open = np.zeros(count + 1, bool)
    is_open[np.unique(labels[side & wide])] = True
    is_open[0] = False
    return ndimage.binary_dilation(is_open[labels], IN_PLANE, mask=air, iterations=2)


def _air_level(open_hu: np.ndarray) -> float:
    """The mean of what is about as dark as air, unless foam, blankets or cut lungs are most of it.

    Exactly -1024 is padding or clipped noise and left out, unless it is what the scanner gives for air.
    """
    dark = open_hu[(open_hu > -1060) & (open_hu < -965)]
    unclipped = dark[dark != -1024]
    if unclipped.size > 0.5 * dark.size or (open_hu < -1024).any():
        dark = unclipped
    if dark.size < max(300, 0.35 * open_hu.size):
        return -1000.0
    return float(dark.mean())


def _body(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The largest thick piece of tissue; table, blankets and tubes are thin or apart."""
    tissue = hu > TISSUE_HU
    core = cc3d.largest_k(eroded(tissue, 4.0, spacing_mm), k=1, connectivity=6) > 0
    if not core.any():
        return core
    return dilated(core, 5.5, spacing_mm) & tissue


def _components(
    mask: np.ndarray, spacing_mm: tuple[float, float, float], smallest_ml: float, margin: int = 1
) -> list[tuple[tuple[slice, slice, slice], np.ndarray]]:
    """Connected components above a volume: bounding box, widened by `margin`, and mask in that box."""
    labels = cc3d.connected_components(mask, connectivity=6)
    statistics = cc3d.statistics(labels)
    counts = statistics["voxel_counts"].astype(float) * np.prod(spacing_mm) / 1000.0
    found = []
    for number in np.flatnonzero(counts >= smallest_ml):
        if number == 0:
            continue
        z, y, x = (
            slice(max(0, part.start - margin), part.stop + margin) for part in statistics["bounding_boxes"][number]
        )
        found.append(((z, y, x), labels[z, y, x] == number))
    return found


def _body_towards(body: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where the body lies ahead (anterior), behind, to the right and to the left, as four masks."""
    ahead, right = (np.maximum.accumulate(body, axis=axis) for axis in (1, 2))
    behind, left = (np.flip(np.maximum.accumulate(np.flip(body, axis), axis=axis), axis) for axis in (1, 2))
    return ahead, behind, right, left


def _has_vessels(hu: np.ndarray, part: np.ndarray, spacing_mm: tuple[float, float, float]) -> bool:
    """Whether dense strands run inside, as in lung but not in the foam of a table."""
    core = eroded(closed(part, 5.0, spacing_mm), 7.0, spacing_mm)
    return bool(core.any()) and float((hu[core] > -600).mean()) > 0.01


def _enclosed_gas(
    hu: np.ndarray, inner: np.ndarray, level_hu: float, spacing_mm: tuple[float, float, float]
) -> np.ndarray:
    """Homogeneous gas with soft tissue all around: bowel, stomach, sinuses, pockets against the skin.

    Emphysema and bullae are as dark, but have vessels inside and lung, not tissue, for most of their wall.
    Whatever else shares a component that is mostly such gas (bowel content) goes with it.
    """
    gas = np.zeros_like(inner)
    radius_mm = 3.5
    dark = ndimage.binary_closing(inner & (hu < level_hu + 60)) & inner  # noise leaves brighter voxels in gas
    cores = eroded(dark, radius_mm, spacing_mm)
    margin = int(np.ceil((radius_mm + 4.0) / min(spacing_mm))) + 2
    for box, core in _components(cores, spacing_mm, smallest_ml=0.15, margin=margin):
        grown = ndimage.binary_dilation(dilated(core, radius_mm, spacing_mm), iterations=1) & inner[box]
        shell = ndimage.binary_dilation(grown) & ~grown
        tissue_fraction = (hu[box][shell] > -650).mean() if shell.any() else 0.0
        if tissue_fraction > 0.8 and hu[box][core].mean() < level_hu + 35:
            gas[box] |= grown
    if gas.any():
        voxel_ml = np.prod(spacing_mm) / 1000.0
        for box, part in _components(inner, spacing_mm, smallest_ml=0.0):
            gas_ml = np.count_nonzero(gas[box] & part) * voxel_ml
            if gas_ml > 0.35 * np.count_nonzero(part) * voxel_ml:
                gas[box] |= part
    return gas


def field_padding(hu: np.ndarray, grid: CoarseGrid) -> np.ndarray:
    """Blocks that fill the square image outside a circular field of view.

    Args:
        hu: (z, y, x) int16 Hounsfield units on the fine grid.
        grid: The coarse grid wanted.

    Returns:
        (z, y, x) bool on the coarse grid: blocks of the very value (-1024 or below) that all corners have, or of
        anything below -1300 where all corners are, as far as they are joined with a corner.
    """
    corners = hu[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    value = corners[0, 0]
    if value <= -1024 and (corners == value).all():
        filled = hu == value
    elif (corners < -1300).all():
        filled = hu < -1300
    else:
        return np.zeros([-(-size // by) for size, by in zip(grid.shape, grid.factors, strict=True)], bool)
    padded = grid.block_mean(filled, 0, 1) > 0.99
    labels, count = ndimage.label(padded, IN_PLANE)
    at_corner = np.zeros(count + 1, bool)
    at_corner[labels[:, [0, 0, -1, -1], [0, -1, 0, -1]].ravel()] = True
    at_corner[0] = False
    return at_corner[labels]
