"""One lung in its bounding box, with a coarse grid on which the extent of a disease is drawn quickly."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import edt
import numpy as np
import scipy.ndimage as ndimage

from datastore.phantom.scene import Scene

COARSE_MM = 2.5
HILUM_MM = (-22.0, -14.0, 38.0)
"""Usual (z, y, distance from the midline) of a hilum in the patient frame."""
APEX_MM, BASE_MM = 95.0, -160.0
"""Usual heights of a lung's ends in the patient frame; they stand in for an end that the scan cuts off."""
Box = tuple[slice, slice, slice]


class LungRegion:
    """What a disease sees of a scene: one lung, its Hounsfield units to change and where things lie in it.

    Diseases reckon on the coarse grid (`shape` of about 2.5 mm, arrays called coarse) and change voxels plane by
    plane: `sweep` interpolates a coarse array to the voxels of each plane.

    Attributes:
        side: 1 right, 2 left.
        box: Where in the scene's arrays the region lies.
        hu: (z, y, x) float32 copy of the box; the diseases write here.
        inside: (z, y, x) bool: in this lung.
        apart: (z, y, x) bool: what no disease of this lung touches: the other lung, airways, bone and metal.
        healthy_hu: `hu` before any tissue changed; None where that still is what the scene holds.
        lobes: (z, y, x) uint8.
        axes_mm: Positions of the box's voxels along z, y and x in the patient frame.
        spacing_mm: (z, y, x).
        base_hu: Healthy parenchyma without vessels.
        down: Unit (z, y, x) vector along gravity.
        coarse_mm: Positions of the coarse grid along z, y and x.
        in_lung: Coarse bool: in this lung.
    """

    def __init__(
        self, scene: Scene, side: int, box: Box, down: tuple[float, float, float], shift_mm: float = 0.0
    ) -> None:
        self.side = side
        self.box = box
        self.hu = np.ascontiguousarray(scene.hu[box], np.float32)
        self.inside = scene.lungs[box] == side
        self.apart = (scene.lungs[box] == 3 - side) | scene.airways[box] | scene.metal[box] | scene.bone[box]
        self.healthy_hu: np.ndarray | None = None
        self.lobes = scene.lobes[box]
        self.axes_mm = tuple(axis[part] for axis, part in zip((scene.z_mm, scene.y_mm, scene.x_mm), box, strict=True))
        self.spacing_mm = scene.spacing_mm
        self.base_hu = scene.lung_base_hu[side - 1]
        self.down = down
        self._shift_mm = shift_mm
        self._cut = (box[0].start == 0, box[0].stop == scene.lungs.shape[0])
        sizes = [axis.size for axis in self.axes_mm]
        steps = [max(1, round(COARSE_MM / mm)) for mm in scene.spacing_mm]
        self._picks = [
            np.unique(np.append(np.arange(0, size, step), size - 1)) for size, step in zip(sizes, steps, strict=True)
        ]
        self._to_fine = [_linear(size, picks) for size, picks in zip(sizes, self._picks, strict=True)]
        self._step_mm = tuple(mm * step for mm, step in zip(scene.spacing_mm, steps, strict=True))
        self.coarse_mm = tuple(axis[picks] for axis, picks in zip(self.axes_mm, self._picks, strict=True))
        self.in_lung = self.inside[np.ix_(*self._picks)]

    @property
    def sign(self) -> float:
        """-1 for the right lung, 1 for the left: the direction of x away from the midline."""
        return -1.0 if self.side == 1 else 1.0

    @cached_property
    def coarse_lobes(self) -> np.ndarray:
        """Coarse uint8 lobes of this lung, 0 outside of it."""
        return np.where(self.in_lung, self.lobes[np.ix_(*self._picks)], 0).astype(np.uint8)

    @cached_property
    def grid_mm(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Coarse z, y and x, shaped for broadcasting."""
        z, y, x = np.ix_(*self.coarse_mm)
        return z, y, x

    @cached_property
    def depth_mm(self) -> np.ndarray:
        """Coarse distance to the nearest pleura, not counting where the scan cuts the lung; below 0 outside."""
        return self.distance_mm(~self.in_lung) - self.distance_mm(self.in_lung)

    @cached_property
    def hilum_mm(self) -> np.ndarray:
        """(z, y, x) of the hilum in the patient frame."""
        return np.array([HILUM_MM[0], HILUM_MM[1], self.sign * HILUM_MM[2] + 0.7 * self._shift_mm])

    @cached_property
    def from_hilum_mm(self) -> np.ndarray:
        """Coarse distance to the hilum."""
        return np.sqrt(sum((axis - place) ** 2 for axis, place in zip(self.grid_mm, self.hilum_mm, strict=True)))

    @cached_property
    def free_depth_mm(self) -> np.ndarray:
        """Coarse distance to the pleura as far as the lung can leave it: not at the hilum, where it hangs on, and
        less readily along the mediastinum than along ribs and diaphragm.
        """
        along = self.in_lung if self.side == 2 else self.in_lung[:, :, ::-1]
        further = np.logical_or.accumulate(along[:, :, ::-1], axis=2)[:, :, ::-1]
        medial = (further if self.side == 2 else further[:, :, ::-1]) & ~self.in_lung
        costal_mm = self.distance_mm(~(self.in_lung | medial))
        medial_mm = 1.6 * self.distance_mm(medial) + np.clip(75.0 - self.from_hilum_mm, 0.0, None)
        return np.minimum(costal_mm, medial_mm).astype(np.float32)

    @cached_property
    def height_mm(self) -> np.ndarray:
        """Coarse height above the most dependent point of the lung, against gravity."""
        height = -sum(axis * part for axis, part in zip(self.grid_mm, self.down, strict=True))
        height = np.broadcast_to(height, self.in_lung.shape).astype(np.float32)
        return height - (height[self.in_lung].min() if self.in_lung.any() else 0.0)

    @cached_property
    def relative_height(self) -> np.ndarray:
        """Coarse height against gravity, 0 dependent to 1 non-dependent."""
        span = self.height_mm[self.in_lung].max() if self.in_lung.any() else 1.0
        return np.clip(self.height_mm / max(float(span), 1.0), 0.0, 1.0)

    @cached_property
    def cranial(self) -> np.ndarray:
        """Coarse (z, 1, 1) height in the lung, 0 at its base to 1 at its apex."""
        levels = self.coarse_mm[0][self.in_lung.any(axis=(1, 2))]
        low, high = (float(levels[0]), float(levels[-1])) if levels.size else (BASE_MM, APEX_MM)
        low = min(low, BASE_MM) if self._cut[0] else low
        high = max(high, APEX_MM) if self._cut[1] else high
        return np.clip((self.grid_mm[0] - low) / max(high - low, 1.0), 0.0, 1.0)

    @property
    def base_is_cut(self) -> bool:
        """Whether the scan ends before the lung does at its base."""
        return self._cut[0] and bool(self.inside[0].any())

    def distance_mm(self, target: np.ndarray) -> np.ndarray:
        """Coarse distance to the nearest voxel of a coarse bool array; 999 where there is none."""
        away = edt.edt(~np.ascontiguousarray(target), anisotropy=self._step_mm)
        return np.minimum(np.nan_to_num(away, posinf=999.0), 999.0)

    def covering(self, score: np.ndarray, fraction: float, within: np.ndarray | None = None) -> np.ndarray:
        """Shift a coarse score so that the given fraction of the lung scores above 0.

        Args:
            score: Coarse array, high where the disease goes first.
            fraction: 0..1 of the voxels of the lung, or of `within`.
            within: Coarse bool array, a part of the lung.
        """
        values = score[self.in_lung if within is None else within & self.in_lung]
        if not values.size or fraction <= 0.0:
            return np.full(score.shape, -1e6, np.float32)
        return (score - np.quantile(values, max(0.0, 1.0 - fraction))).astype(np.float32)

    def plane(self, coarse: np.ndarray, index: int) -> np.ndarray:
        """A coarse array interpolated to one plane of voxels, (y, x) float32."""
        weights = self._to_fine[0][index]
        near = np.flatnonzero(weights)
        flat = np.tensordot(weights[near], coarse[near], 1)
        return self._to_fine[1] @ flat @ self._to_fine[2].T

    def sweep(self, coarse: np.ndarray, least: float = 0.0) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Go through the planes in which a coarse array exceeds a value inside the lung.

        Args:
            coarse: Coarse float32 array.
            least: Voxels up to this value are left out.

        Yields:
            The plane's index, the flat (y * x) indices of the voxels, and their interpolated values.
        """
        reach = (coarse > least).any(axis=(1, 2))
        if not reach.any():
            return
        for index in range(self.inside.shape[0]):
            if not reach[np.flatnonzero(self._to_fine[0][index])].any():
                continue
            values = self.plane(coarse, index)
            where = np.flatnonzero((values > least) & self.inside[index])
            if where.size:
                yield index, where, values.reshape(-1)[where]

    def values(self, index: int) -> np.ndarray:
        """One plane of `hu` as a flat view to read and write."""
        return self.hu[index].reshape(-1)

    def at(self, mm: np.ndarray) -> tuple[int, int, int]:
        """The voxel nearest to a (z, y, x) place, inside the box."""
        z, y, x = (
            int(np.clip(np.searchsorted(axis, place), 0, axis.size - 1))
            for axis, place in zip(self.axes_mm, mm, strict=True)
        )
        return z, y, x

    def places(self, coarse: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
        """Random places, (count, 3) mm, in a coarse bool array; none where it is empty."""
        found = np.flatnonzero(coarse & self.in_lung)
        if not found.size:
            return np.empty((0, 3))
        chosen = np.unravel_index(found[random.integers(found.size, size=count)], self.in_lung.shape)
        jitter = random.uniform(-0.5, 0.5, (3, count)) * np.array(self._step_mm)[:, None]
        return np.stack([axis[index] for axis, index in zip(self.coarse_mm, chosen, strict=True)], 1) + jitter.T

    def near(self, low_mm: np.ndarray, high_mm: np.ndarray) -> Box | None:
        """The voxels between two (z, y, x) corners; None if the box holds none."""
        spans = [
            np.searchsorted(axis, (low, high)) for axis, low, high in zip(self.axes_mm, low_mm, high_mm, strict=True)
        ]
        if any(start >= stop for start, stop in spans):
            return None
        z, y, x = (slice(int(start), int(stop)) for start, stop in spans)
        return z, y, x

    def forget(self) -> None:
        """Drop what was derived from the lung's extent, after it has changed."""
        self.in_lung = self.inside[np.ix_(*self._picks)]
        for name in ("coarse_lobes", "depth_mm", "free_depth_mm", "height_mm", "relative_height", "cranial"):
            self.__dict__.pop(name, None)

    def empty(self) -> np.ndarray:
        """A mask of the box with nothing in it."""
        return np.zeros(self.inside.shape, bool)


def lung_boxes(lungs: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple[Box | None, Box | None]:
    """The boxes of the (right, left) lung with a margin of 4 mm; None for a lung that is not in view.

    Args:
        lungs: (z, y, x) uint8, 1 right, 2 left.
        spacing_mm: (z, y, x).
    """
    margins = [int(np.ceil(4.0 / mm)) for mm in spacing_mm]
    boxes: list[Box | None] = []
    for found in ndimage.find_objects(lungs, max_label=2):
        if found is None:
            boxes.append(None)
            continue
        z, y, x = (
            slice(max(0, part.start - margin), min(size, part.stop + margin))
            for part, size, margin in zip(found, lungs.shape, margins, strict=True)
        )
        boxes.append((z, y, x))
    return boxes[0], boxes[1]


def _linear(size: int, picks: np.ndarray) -> np.ndarray:
    """(size, picks) float32 matrix that interpolates linearly from picked voxels to all."""
    steps = np.eye(picks.size, dtype=np.float32)
    return np.stack([np.interp(np.arange(size), picks, row) for row in steps], 1).astype(np.float32)
