"""Star-shaped streaks around metal in the body."""

from __future__ import annotations

import numpy as np
import scipy.ndimage as ndimage

from datastore.phantom.streaks import Streaks

LARGEST = 3
DIRECTIONS = 720


class MetalStreaks:
    """Star-shaped streaks around pieces of metal, the same pattern along the whole of a piece.

    Args:
        shape: (y, x) of a slice.
        spacing_mm: (y, x) of a slice.
        streaks: Strengths.
        random: Source of the pattern.
    """

    def __init__(
        self, shape: tuple[int, int], spacing_mm: tuple[float, float], streaks: Streaks, random: np.random.Generator
    ) -> None:
        self._streaks, self._spacing_mm = streaks, spacing_mm
        self._y, self._x = (
            ((np.arange(0, count, 2)) * step).astype(np.float32) for count, step in zip(shape, spacing_mm, strict=True)
        )
        spikes = random.standard_normal((2, DIRECTIONS)) * np.abs(random.standard_normal((2, DIRECTIONS)))
        smooth = ndimage.gaussian_filter1d(spikes, 1.5, axis=1, mode="wrap")
        self._pattern = ((smooth - smooth.mean(1, keepdims=True)) / smooth.std(1, keepdims=True)).astype(np.float32)

    def add_to(self, slice_hu: np.ndarray, metal: np.ndarray, index: int) -> None:
        """Add the streaks of a slice's metal to it.

        Args:
            slice_hu: (y, x) float32, changed.
            metal: (y, x) bool.
            index: Number of the slice; neighbouring slices have similar streaks.
        """
        labels, count = ndimage.label(metal)
        if not count:
            return
        areas = np.bincount(labels.ravel())[1:]
        largest = 1 + np.argsort(-areas, kind="stable")[:LARGEST]
        streaks_hu = np.zeros((self._y.size, self._x.size), np.float32)
        for label, (y, x) in zip(largest, ndimage.center_of_mass(metal, labels, largest), strict=True):
            dy = self._y[:, None] - np.float32(y * self._spacing_mm[0])
            dx = self._x[None, :] - np.float32(x * self._spacing_mm[1])
            distance = np.sqrt(dy * dy + dx * dx)
            area_mm2 = float(areas[label - 1]) * self._spacing_mm[0] * self._spacing_mm[1]
            radius_mm = np.sqrt(area_mm2 / np.pi)
            away = np.maximum(distance - radius_mm, 0)
            # a streak keeps its width while its angle narrows, so it fades with the distance, too
            fading = np.exp(-away / self._streaks.metal_reach_mm) / (1 + away / (3 * radius_mm + 6))
            strength = self._streaks.metal_hu * min(np.sqrt(area_mm2 / 100), 3.0)
            turn = (np.arctan2(dy, dx) * (DIRECTIONS / (2 * np.pi))).astype(np.int32) % DIRECTIONS
            blend = 0.5 + 0.5 * np.sin(0.3 * index)
            pattern = blend * self._pattern[0] + np.sqrt(1 - blend**2) * self._pattern[1]
            streaks_hu += np.float32(strength) * pattern.astype(np.float32)[turn] * fading * (distance > radius_mm)
        fine = np.repeat(np.repeat(streaks_hu, 2, axis=0), 2, axis=1)[: slice_hu.shape[0], : slice_hu.shape[1]]
        slice_hu += fine
