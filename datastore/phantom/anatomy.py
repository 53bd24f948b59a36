"""A patient on a grid: shapes on a coarse grid, then slice after slice, then the trees and what was implanted."""

from __future__ import annotations

import numpy as np

from datastore.phantom.implants import draw_implants
from datastore.phantom.lung_trees import paint_lung_trees
from datastore.phantom.patient import Patient
from datastore.phantom.rendering import Painter
from datastore.phantom.sampling import make_sampler
from datastore.phantom.scene import Scene, thicken
from datastore.phantom.shapes import make_shapes

COARSE_MM, THIN_MM = 3.0, 2.5


def build_scene(
    patient: Patient,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Scene:
    """Render a patient.

    Slices thicker than `THIN_MM` are the mean of thinner ones; their masks say what fills most of a voxel.

    Args:
        patient: Who.
        shape: (z, y, x) voxels.
        spacing_mm: (z, y, x) voxel size.
        centre_mm: (z, y, x) of the grid's middle in the patient frame.

    Raises:
        ValueError: If a size or a spacing is not above 0.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"expected shape as three sizes above 0 (z, y, x), got {shape}")
    if len(spacing_mm) != 3 or not min(spacing_mm) > 0:
        raise ValueError(f"expected spacing_mm as three numbers above 0 (z, y, x), got {spacing_mm}")
    parts = max(1, int(np.ceil(spacing_mm[0] / THIN_MM)))
    parts += parts % 2 == 0  # an odd number, so that a voxel is mostly one thing or another
    thin_mm = (spacing_mm[0] / parts, spacing_mm[1], spacing_mm[2])
    counts = (shape[0] * parts, shape[1], shape[2])
    z_mm, y_mm, x_mm = (
        (middle + (np.arange(count) - (count - 1) / 2) * step).astype(np.float32)
        for middle, count, step in zip(centre_mm, counts, thin_mm, strict=True)
    )
    scene = _thin_scene(patient, (z_mm, y_mm, x_mm), thin_mm)
    return scene if parts == 1 else thicken(scene, parts, spacing_mm)


def _thin_scene(
    patient: Patient, axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray], spacing_mm: tuple[float, float, float]
) -> Scene:
    sampler = make_sampler(axes_mm, spacing_mm, COARSE_MM)
    steps = tuple(float(axis[1] - axis[0]) if len(axis) > 1 else COARSE_MM for axis in sampler.coarse_mm)
    shapes = make_shapes(patient, sampler.coarse_mm, (steps[0], steps[1], steps[2]))
    painter = Painter(patient, shapes, sampler, spacing_mm)
    size = tuple(len(axis) for axis in axes_mm)
    hu = np.empty(size, np.float32)
    lungs, lobes = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    airways, body, bone = (np.zeros(size, bool) for _ in range(3))
    metal = np.zeros(size, bool)
    for index in range(size[0]):
        painter.slice(index, hu[index], lungs[index], lobes[index], airways[index], body[index], bone[index])
    if lungs.any():
        paint_lung_trees(patient, hu, lungs, axes_mm)
    draw_implants(patient, shapes.space, shapes.skin, hu, metal, axes_mm)
    return Scene(hu, lungs, lobes, airways, body, bone, metal, *axes_mm, spacing_mm, patient.lung_hu)
