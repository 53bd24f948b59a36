"""A synthetic patient on a grid, before the scanner has looked at it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Scene:
    """A patient on a grid before acquisition, all along LPS.

    The patient frame has its origin in the middle of the vertebral column's front at the level of the carina;
    z up, y to the back, x to the patient's left.

    Attributes:
        hu: (z, y, x) float32 Hounsfield units, noise-free, air outside -1000.
        lungs: (z, y, x) uint8: 0 background, 1 right lung, 2 left lung.
        lobes: (z, y, x) uint8: 1..5, as `datastore.labels.LOBES`.
        airways: (z, y, x) bool: air of trachea and main bronchi, outside the lungs.
        body: (z, y, x) bool: inside the skin.
        bone: (z, y, x) bool.
        metal: (z, y, x) bool: implants, wires and electrodes that make streaks.
        z_mm: (z,) float32 heights of the voxel centres in the patient frame.
        y_mm: (y,) float32.
        x_mm: (x,) float32.
        spacing_mm: (z, y, x) voxel size in mm.
        lung_base_hu: Parenchyma of the (right, left) lung before vessels.
    """

    hu: np.ndarray
    lungs: np.ndarray
    lobes: np.ndarray
    airways: np.ndarray
    body: np.ndarray
    bone: np.ndarray
    metal: np.ndarray
    z_mm: np.ndarray
    y_mm: np.ndarray
    x_mm: np.ndarray
    spacing_mm: tuple[float, float, float]
    lung_base_hu: tuple[float, float]


def thicken(scene: Scene, parts: int, spacing_mm: tuple[float, float, float]) -> Scene:
    """Join every `parts` slices, an odd number, into one."""

    def mean(array: np.ndarray) -> np.ndarray:
        return array.reshape(-1, parts, *array.shape[1:]).mean(axis=1, dtype=np.float32)

    def most(mask: np.ndarray) -> np.ndarray:
        return mask.reshape(-1, parts, *mask.shape[1:]).sum(axis=1, dtype=np.uint8) * 2 > parts

    right, left, airways = most(scene.lungs == 1), most(scene.lungs == 2), most(scene.airways)
    lungs = (right + 2 * left.astype(np.uint8)).astype(np.uint8)
    lobes = np.zeros_like(lungs)
    for side, labels in ((1, (3, 4, 5)), (2, (1, 2))):
        best = np.zeros(lungs.shape, np.uint8)
        for label in labels:
            share = (scene.lobes == label).reshape(-1, parts, *lungs.shape[1:]).sum(axis=1, dtype=np.uint8)
            more = (share > best) & (lungs == side)
            lobes[more] = label
            np.maximum(best, share, out=best)
    return Scene(
        mean(scene.hu), lungs, lobes, airways, most(scene.body), most(scene.bone), most(scene.metal),
        mean(scene.z_mm), scene.y_mm, scene.x_mm, spacing_mm, scene.lung_base_hu,
    )  # fmt: skip
