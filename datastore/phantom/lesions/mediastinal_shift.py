"""A mediastinum that moves towards a shrunken lung or away from one under pressure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from datastore.phantom.scene import Scene

MOST_MM = 32.0


def shift_mediastinum(scene: Scene, shift_mm: float) -> Scene:
    """Move heart, great vessels and trachea sideways; spine, sternum, ribs and abdomen stay.

    Args:
        scene: A patient on a grid; left as it is.
        shift_mm: Towards the patient's left where above 0; at most `MOST_MM` either way.

    Returns:
        The scene with every array warped alike, Hounsfield units linearly, labels by the nearest voxel.
    """
    shift_mm = float(np.clip(shift_mm, -MOST_MM, MOST_MM))
    rows_with_lung = np.flatnonzero((scene.lungs > 0).any(axis=(0, 2)))
    if abs(shift_mm) < 1.0 or not rows_with_lung.size:
        return scene
    columns_with_lung = np.abs(scene.x_mm[(scene.lungs > 0).any(axis=(0, 1))])
    lateral_mm = max(60.0, 0.85 * float(columns_with_lung.max()))
    front_mm = float(scene.y_mm[rows_with_lung[0]])
    by_z = _fade(scene.z_mm, -150.0, -85.0) * _fade(-scene.z_mm, -85.0, -30.0)
    by_y = _fade(-scene.y_mm, 2.0, 22.0) * _fade(scene.y_mm, front_mm + 2.0, front_mm + 30.0)
    by_x = _fade(lateral_mm - np.abs(scene.x_mm), 0.0, max(1.6 * abs(shift_mm), lateral_mm - 25.0))
    rows, columns = (slice(*_span(weight)) for weight in (by_y, by_x))
    names = ("lungs", "lobes", "airways", "bone", "metal")
    moved = {name: getattr(scene, name) for name in names}
    moved = {name: array.copy() for name, array in moved.items() if array[:, rows, columns].any()}
    hu = scene.hu.copy()
    place = np.arange(scene.x_mm.size, dtype=np.float32)[columns]
    step = by_y[rows, None] * by_x[None, columns] * (shift_mm / scene.spacing_mm[2])
    row = np.arange(step.shape[0])[:, None]
    for index in np.flatnonzero(by_z > 0):
        # The first column of the warped block is not moved, so sources never leave it.
        source = np.clip(place - by_z[index] * step - columns.start, 0, place.size - 1)
        nearest = np.rint(source).astype(np.intp)
        below = np.minimum(source.astype(np.intp), max(place.size - 2, 0))
        part = (source - below).astype(np.float32)
        for name in moved:
            moved[name][index, rows, columns] = getattr(scene, name)[index, rows, columns][row, nearest]
        plane = scene.hu[index, rows, columns]
        left = plane[row, below]
        hu[index, rows, columns] = left + part * (plane[row, np.minimum(below + 1, place.size - 1)] - left)
    return replace(scene, hu=hu, **moved)


def _fade(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smoothly from 0 at `low` to 1 at `high`."""
    part = np.clip((values - low) / (high - low), 0.0, 1.0)
    return part * part * (3.0 - 2.0 * part)


def _span(weight: np.ndarray) -> tuple[int, int]:
    found = np.flatnonzero(weight > 0)
    return (int(found[0]), int(found[-1]) + 1) if found.size else (0, 0)
