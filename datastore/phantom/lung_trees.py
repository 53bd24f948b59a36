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
PLEURAL_GAP_MM = 2.0
TIP_MM, LEAST_BRONCHIAL_ARTERY_MM, BRONCHIAL_WALL = 0.5, 2.0, 0.36
LUNG_ML = 2300.0
# Where arteries and veins of each lobe start, from the hilum towards (head, back, outside).
UPPER, MIDDLE, LOWER = (
    ((6.0, 0.0, 2.0), (-14.0, -12.0, 2.0)),
    ((-20.0, -6.0, 6.0), (-22.0, -14.0, 4.0)),
    ((-30.0, 4.0, 7.0), (-40.0, 4.0, 2.0)),
)
ROOTS_MM = {1: UPPER, 2: LOWER, 3: UPPER, 4: MIDDLE, 5: LOWER}


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
            paint_hollow(hu, within, axes_mm, bronchus, BRONCHIAL_WALL)


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
    tip_mm = TIP_MM * patient.vessel_scale * space.scale
    deep = lungs.sdf[side] * space.scale < -PLEURAL_GAP_MM
    lobes = lungs.lobes(side)
    arteries, veins, bronchi = [], [], []
    for lobe in np.unique(lobes[deep]):
        cells = np.argwhere(deep & (lobes == lobe))
        count = min(len(cells), int(patient.vessel_count * len(cells) * CELL_MM**3 / 1000 / LUNG_ML))
        grown = []
        outward = np.array([1.0, 1.0, 2.0 * side - 1])
        for shift in ROOTS_MM[int(lobe)]:
            start = np.array(hilum) + outward * shift + random.normal(0, 1.5, 3)
            root = space.frame.to_world(start[None])[0]
            chosen = cells[random.choice(len(cells), count, replace=False)]
            ends = np.stack([axis[chosen[:, i]] for i, axis in enumerate(space.axes_mm)], axis=1)
            ends = ends + random.uniform(-CELL_MM / 2, CELL_MM / 2, ends.shape)
            grown.append(grow(root, ends, tip_mm, random))
        arteries.append(grown[0])
        veins.append(grown[1])
        bronchi.append(beside(grown[0], patient.bronchus_scale, LEAST_BRONCHIAL_ARTERY_MM * space.scale, random))
    return LungTrees(tuple(arteries), tuple(veins), tuple(bronchi))
