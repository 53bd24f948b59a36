"""The trees of one patient's lungs, the same in every view of the patient."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from datastore.phantom.body import make_trunk
from datastore.phantom.lungs import Lungs, make_lungs
from datastore.phantom.mediastinum import enhancement, make_mediastinum
from datastore.phantom.patient import Patient
from datastore.phantom.skeleton import make_skeleton
from datastore.phantom.space import Space, make_space
from datastore.phantom.trees import Tree, beside, grow, paint, paint_hollow

CELL_MM = 6.0
PLEURAL_GAP_MM = 3.0
LUNG_ML = 2300.0


@dataclass(frozen=True, eq=False)
class LungTrees:
    """Trees of one lung: (artery, vein, bronchus) for each lobe."""

    arteries: tuple[Tree, ...]
    veins: tuple[Tree, ...]
    bronchi: tuple[Tree, ...]


def paint_lung_trees(
    patient: Patient, hu: np.ndarray, lungs: np.ndarray, axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    """Draw a patient's pulmonary vessels and bronchi into the lungs of a scan.

    Args:
        patient: Whose.
        hu: (z, y, x) float32, changed in place.
        lungs: (z, y, x) uint8: 1 right, 2 left.
        axes_mm: (z, y, x) positions of the voxels.
    """
    blood = enhancement(patient)
    for side, trees in enumerate(lung_trees(patient)):
        within = lungs == side + 1
        if not within.any():
            continue
        for vein in trees.veins:
            paint(hu, within, axes_mm, vein, blood.left_heart)
        for artery, bronchus in zip(trees.arteries, trees.bronchi, strict=True):
            paint(hu, within, axes_mm, artery, blood.pulmonary)
            paint_hollow(hu, within, axes_mm, bronchus, 0.42)


@lru_cache(maxsize=4)
def lung_trees(patient: Patient) -> tuple[LungTrees, LungTrees]:
    """The trees of the (right, left) lung of a patient, grown on a coarse grid of the whole chest."""
    random = np.random.default_rng([patient.seed, 6])
    ends = ((-270, 150), (-170, 110), (-175, 175))
    z, y, x = (np.arange(a * size, b * size, CELL_MM) for (a, b), size in zip(ends, patient.scale, strict=True))
    space = make_space(patient, (z, y, x), (CELL_MM, CELL_MM, CELL_MM))
    trunk = make_trunk(space, patient)
    mediastinum = make_mediastinum(space, patient, trunk)
    lungs = make_lungs(space, patient, trunk, make_skeleton(space, patient, trunk).column, mediastinum.bulk)
    right, left = (_grow_side(patient, space, lungs, mediastinum.hilum[side], side, random) for side in (0, 1))
    return right, left


def _grow_side(
    patient: Patient,
    space: Space,
    lungs: Lungs,
    hilum: tuple[float, float, float],
    side: int,
    random: np.random.Generator,
) -> LungTrees:
    tip_mm = 0.6 * patient.vessel_scale * space.scale
    deep = lungs.sdf[side] * space.scale < -PLEURAL_GAP_MM
    lobes = lungs.lobes(side)
    root = space.frame.to_world(np.array([hilum]))[0]
    arteries, veins, bronchi = [], [], []
    for lobe in np.unique(lobes[deep]):
        cells = np.argwhere(deep & (lobes == lobe))
        count = min(len(cells), int(patient.vessel_count * len(cells) * CELL_MM**3 / 1000 / LUNG_ML))
        grown = []
        for shift in (random.normal(0, 2, 3), np.array([-14.0, -8.0, 0.0])):
            chosen = cells[random.choice(len(cells), count, replace=False)]
            ends = np.stack([axis[chosen[:, i]] for i, axis in enumerate(space.axes_mm)], axis=1)
            ends = ends + random.uniform(-CELL_MM / 2, CELL_MM / 2, ends.shape)
            grown.append(grow(root + shift, ends, tip_mm, random))
        arteries.append(grown[0])
        veins.append(grown[1])
        bronchi.append(beside(grown[0], patient.bronchus_scale, 2.9 * tip_mm, random))
    return LungTrees(tuple(arteries), tuple(veins), tuple(bronchi))
