"""From shapes to slices: every tissue is laid over what is under it, with soft edges one voxel wide."""

from __future__ import annotations

import numpy as np

from datastore.phantom.devices import table_hu
from datastore.phantom.lungs import lobe_labels
from datastore.phantom.patient import Patient
from datastore.phantom.sampling import Region, Sampler
from datastore.phantom.shapes import Shapes
from datastore.phantom.space import Solid
from datastore.phantom.tissue import FAT_HU, GAS_HU, SKIN_HU, TRACHEA_HU

SKIN_MM, TRACHEAL_WALL_MM, FISSURE_MM = 1.8, 1.6, 1.1
TRACHEAL_WALL_HU, BLANKET_HU, MARROW_GRAIN_HU = 25.0, -600.0, 12.0
TEXTURE_PLANES = 24


class Painter:
    """Paints the slices of one patient."""

    def __init__(
        self, patient: Patient, shapes: Shapes, sampler: Sampler, spacing_mm: tuple[float, float, float]
    ) -> None:
        self.patient, self.shapes, self.sampler = patient, shapes, sampler
        self.sharpness = shapes.space.scale / max(spacing_mm[1], spacing_mm[2])
        _, y_mm, x_mm = sampler.fine_mm
        self.table = table_hu(patient, y_mm, x_mm, _back_mm(patient, shapes))
        self.blanket_share = np.random.default_rng([patient.seed, 11]).uniform(0.15, 0.8)
        self.blanket_end_mm = np.random.default_rng([patient.seed, 12]).uniform(-20, 90)
        self.texture = _texture(patient, spacing_mm, (len(y_mm), len(x_mm)))
        down = 1.0 if patient.posture == "supine" else -1.0
        fall = down * (y_mm + 25 * patient.scale[1]) / (180 * patient.scale[1])
        self.gravity = (patient.gravity_hu * np.clip(fall, -0.6, 0.6)).astype(np.float32)[:, None]

    def slice(
        self,
        index: int,
        hu: np.ndarray,
        lungs: np.ndarray,
        lobes: np.ndarray,
        airways: np.ndarray,
        body: np.ndarray,
        bone: np.ndarray,
    ) -> None:
        """Paint slice `index` into (y, x) views of the scene."""
        shapes = self.shapes
        hu[...] = self.table
        found = self._distance(shapes.skin.sdf, index, 45.0 if self.patient.blanket else 4.0)
        if found is None:
            return
        distance, coarse, fine = found
        body[fine] = distance < 0
        if self.patient.blanket:
            self._cover(hu, index, distance, coarse, fine)
        grain = self.texture[index % TEXTURE_PLANES]
        value = np.clip(1 + distance * (shapes.space.scale / SKIN_MM), 0, 1)
        value *= SKIN_HU - FAT_HU
        value += FAT_HU
        value += 5 * grain[fine]
        self._blend(hu, fine, distance, value)
        self._solid(hu, shapes.soft, index, 5 * grain)
        self._solid(hu, shapes.blood, index)
        self._bone(hu, bone, index)
        for side in (0, 1):
            self._lung(hu, lungs, lobes, index, side)
        found = self._distance(shapes.gas.sdf, index)
        if found is not None:
            self._blend(hu, found[2], found[0], GAS_HU)
        self._airway(hu, lungs, lobes, airways, index)

    def _cover(self, hu: np.ndarray, index: int, distance: np.ndarray, coarse: Region, fine: Region) -> None:
        """A blanket or gown: a thin sheet that lies on the patient here and hangs in folds there."""
        space, sampler = self.shapes.space, self.sampler
        long, short = (sampler.level(field, index) for field in space.ripple)
        aside = np.abs(sampler.level(space.x, index)) / 130
        height = sampler.refine(
            np.maximum(2.0 + 7 * long + 2 * short + 9 * aside * aside, 1.0).astype(np.float32), coarse, fine
        )
        sheet = np.abs(distance - height)
        sheet -= 0.5
        share = self._share(sheet)
        share *= self.blanket_share
        share *= sampler.fine_mm[1][fine[0]][:, None] < self.blanket_end_mm
        part = hu[fine]
        share *= BLANKET_HU - part
        part += share

    def _distance(self, field: np.ndarray, index: int, below: float = 4.0) -> tuple[np.ndarray, Region, Region] | None:
        plane = self.sampler.level(field, index)
        region = self.sampler.region(plane, below)
        return None if region is None else (self.sampler.refine(plane, *region), *region)

    def _share(self, distance: np.ndarray) -> np.ndarray:
        share = distance * (-self.sharpness)
        share += 0.5
        return np.clip(share, 0, 1, out=share)

    def _blend(self, hu: np.ndarray, fine: Region, distance: np.ndarray, value: np.ndarray | float) -> None:
        share, part = self._share(distance), hu[fine]
        share *= value - part
        part += share

    def _solid(self, hu: np.ndarray, solid: Solid, index: int, grain_hu: np.ndarray | None = None) -> None:
        found = self._distance(solid.sdf, index)
        if found is None or solid.hu is None:
            return
        distance, coarse, fine = found
        value = self.sampler.refine(self.sampler.level(solid.hu, index), coarse, fine)
        if grain_hu is not None:
            value += grain_hu[fine]
        self._blend(hu, fine, distance, value)

    def _bone(self, hu: np.ndarray, bone: np.ndarray, index: int) -> None:
        """Marrow in a shell of compact bone as thick as the nearest bone's."""
        bones, sampler, patient = self.shapes.bone, self.sampler, self.patient
        found = self._distance(bones.sdf, index, 3.0)
        if found is None:
            return
        distance, coarse, fine = found
        near = distance < 1.0 / self.sharpness
        deep = distance[near]
        marrow = sampler.refine(sampler.level(bones.marrow_hu, index), coarse, fine)[near]
        grain = self.texture[index % TEXTURE_PLANES][fine][near]
        # A share of the marrow's own HU: the trabeculae of the old are few and coarse.
        marrow += (MARROW_GRAIN_HU + 0.1 * marrow) * grain
        shell = sampler.nearest(sampler.level(bones.compact_mm, index), fine)[near]
        shell *= patient.compact_bone / self.shapes.space.scale
        compact = np.clip((deep + shell * (1 + 0.2 * grain)) * self.sharpness + 0.5, 0, 1)
        marrow += compact * (patient.compact_bone_hu - marrow)
        share = self._share(deep)
        part = hu[fine]
        around = part[near]
        part[near] = around + share * (marrow - around)
        bone[fine] = distance < 0

    def _lung(self, hu: np.ndarray, lungs: np.ndarray, lobes: np.ndarray, index: int, side: int) -> None:
        shapes, sampler, patient = self.shapes, self.sampler, self.patient
        found = self._distance(shapes.lungs.sdf[side], index)
        if found is None:
            return
        distance, coarse, fine = found
        scale = shapes.space.scale
        inside = distance < 0
        oblique = sampler.refine(sampler.level(shapes.lungs.oblique, index), coarse, fine)
        value = (
            patient.lung_hu[side]
            + self.gravity[fine[0]]
            + patient.texture_hu * self.texture[index % TEXTURE_PLANES][fine]
        )
        line = np.abs(oblique)
        horizontal = None
        if side == 0:
            horizontal = sampler.refine(sampler.level(shapes.lungs.horizontal, index), coarse, fine)
            line = np.minimum(line, np.where(oblique > 0, np.abs(horizontal), 9))
        line *= -scale / FISSURE_MM
        line += 1
        np.maximum(line, 0, out=line)
        line *= 150 * patient.fissure
        value += line
        self._blend(hu, fine, distance, value)
        lungs[fine][inside] = side + 1
        lobes[fine][inside] = lobe_labels(side, oblique, horizontal)[inside]

    def _airway(self, hu: np.ndarray, lungs: np.ndarray, lobes: np.ndarray, airways: np.ndarray, index: int) -> None:
        found = self._distance(self.shapes.lumen.sdf, index)
        if found is None:
            return
        distance, _, fine = found
        wall = distance - TRACHEAL_WALL_MM / self.shapes.space.scale
        self._blend(hu, fine, wall, TRACHEAL_WALL_HU)
        self._blend(hu, fine, distance, TRACHEA_HU)
        airways[fine] = distance < 0
        for mask in (lungs, lobes):
            mask[fine][wall < 0] = 0


def _back_mm(patient: Patient, shapes: Shapes) -> float:
    """y of the skin on the side of the table."""
    inside = (shapes.skin.sdf < 0).any(axis=(0, 2))
    rows = np.flatnonzero(inside)
    if not len(rows):
        return 130.0 if patient.posture == "supine" else -130.0
    return float(shapes.space.axes_mm[1][rows[-1] if patient.posture == "supine" else rows[0]])


def _texture(patient: Patient, spacing_mm: tuple[float, float, float], size: tuple[int, int]) -> np.ndarray:
    """(planes, y, x) float32 noise of standard deviation 1 that repeats along z: secondary lobules and finer grain."""
    random = np.random.default_rng([patient.seed, 5])
    tile = [min(256, max(n, 8)) for n in size]
    white = random.standard_normal((TEXTURE_PLANES, *tile), dtype=np.float32)
    spectrum = np.fft.rfftn(white)
    total = np.zeros_like(white)
    for length_mm, weight in ((1.3, 0.7), (5.0, 0.6), (14.0, 0.3)):
        window = 1.0
        for axis, (count, step) in enumerate(zip(white.shape, spacing_mm, strict=True)):
            frequency = np.fft.rfftfreq(count, step) if axis == 2 else np.fft.fftfreq(count, step)
            part = np.exp(-2 * (np.pi * frequency * length_mm) ** 2)
            window = window * part.reshape([-1 if a == axis else 1 for a in range(3)])
        noise = np.fft.irfftn(spectrum * window, white.shape).astype(np.float32)
        total += weight * noise / max(float(noise.std()), 1e-6)
    repeats = [-(-n // t) for n, t in zip(size, tile, strict=True)]
    return np.tile(total, (1, *repeats))[:, : size[0], : size[1]]
