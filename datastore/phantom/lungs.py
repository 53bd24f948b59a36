"""The shape of the lungs: pleural cavity, domes of the diaphragm, fissures and the lobes between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.body import Trunk
from datastore.phantom.implicit import smooth_min, true_distance
from datastore.phantom.patient import Patient
from datastore.phantom.space import Space

PLEURA_MM = 1.5


@dataclass(frozen=True, eq=False)
class Lungs:
    """Signed distances in mm of the reference anatomy.

    Attributes:
        sdf: (right, left) (z, y, x) to the lung, negative inside.
        belly: (z, y, x) to what lies under the diaphragm, negative inside.
        oblique: (z, y, x) height above the oblique fissure of the side the voxel is on.
        horizontal: (z, y, x) height above the right lung's horizontal fissure.
    """

    sdf: tuple[np.ndarray, np.ndarray]
    belly: np.ndarray
    oblique: np.ndarray
    horizontal: np.ndarray

    def lobes(self, side: int) -> np.ndarray:
        """(z, y, x) uint8 lobe of every point, as if that side's lung were everywhere."""
        return lobe_labels(side, self.oblique, self.horizontal)


def lobe_labels(side: int, oblique: np.ndarray, horizontal: np.ndarray | None) -> np.ndarray:
    """Lobe numbers from the heights above the fissures, as `datastore.labels.LOBES` has them.

    >>> lobe_labels(0, np.array([-1.0, 1.0, 1.0]), np.array([1.0, -1.0, 1.0])).tolist()
    [5, 4, 3]
    """
    upper, lower = ((3, 5), (1, 2))[side]
    labels = np.where(oblique < 0, np.uint8(lower), np.uint8(upper))
    if side == 0 and horizontal is not None:
        labels[(horizontal < 0) & (oblique >= 0)] = 4
    return labels


def make_lungs(space: Space, patient: Patient, trunk: Trunk, column: np.ndarray, bulk: np.ndarray) -> Lungs:
    """Fill the chest with two lungs.

    Args:
        space: The coarse grid.
        patient: Height of the domes, inspiration, seed of the fissures.
        trunk: Its inner wall bounds the lungs outside.
        column: (z, y, x) distance to the vertebral column with its muscles.
        bulk: (z, y, x) distance to the mediastinum.
    """
    belly = _under_diaphragm(space, patient)
    # Smooth where the wall bends round the vertebral column.
    wall = -smooth_min(-(trunk.cavity + PLEURA_MM), column, 14)
    inside = np.maximum(np.maximum(wall, -belly), -bulk)
    middle = 2.0
    sdf = tuple(np.maximum(inside, 1.0 - sign * (space.x - middle)).astype(np.float32) for sign in (-1, 1))
    oblique, horizontal = _fissures(space, patient)
    return Lungs((sdf[0], sdf[1]), belly, oblique, horizontal)


def _under_diaphragm(space: Space, patient: Patient) -> np.ndarray:
    """Distance to the belly: two ellipsoids whose height depends on the direction, deepest at the back."""
    random = np.random.default_rng([patient.seed, 1])
    z, y = space.z, space.y
    halves = np.zeros(space.shape, np.float32)
    for side, sign in ((0, -1), (1, 1)):
        deep = 0.62 + 0.38 * patient.inspiration
        fall = np.array((76, 30, 106, 26), float) * deep * random.uniform(0.9, 1.1, 4)
        u, v = (sign * space.x - 64) / 72, (y + 36) / 90
        # Towards the side, the middle, the back and the front.
        u_out, u_in, v_back, v_front = np.maximum(u, 0), np.maximum(-u, 0) * 0.6, np.maximum(v, 0), np.maximum(-v, 0)
        weights = [part * part + 1e-3 for part in (u_out, u_in, v_back, v_front)]
        height = sum(w * h for w, h in zip(weights, fall, strict=True)) / sum(weights)
        base = patient.dome_z_mm[side] + 3.5 * space.ripple[0] - height
        radius = u_out**2 + u_in**2 + v * v
        over = np.maximum(z - base, 0) / height
        dome = np.maximum((np.sqrt(radius + over * over) - 1) * 60, -80)
        dome = np.minimum(dome, z - base - 0.10 * height)
        dome = np.maximum(dome, z - base - height)
        half = true_distance(dome, space.step)
        halves += half * np.clip(0.5 + sign * space.x / 50, 0, 1)
    return halves.astype(np.float32)


def _fissures(space: Space, patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Height above the oblique fissure (steeper on the left) and above the horizontal one.

    The oblique fissure runs from the height of the fourth thoracic vertebra at the back to the sixth rib's end in
    front, the horizontal one along the fourth rib (Gray's Anatomy, Lungs).
    """
    random = np.random.default_rng([patient.seed, 2])
    x, y, z = space.x, space.y, space.z
    right = x < 2
    drop = 0.5 * (sum(patient.dome_z_mm) / 2 + 100)
    steep = np.where(right, random.uniform(1.05, 1.3), random.uniform(1.2, 1.5)).astype(np.float32)
    start = np.where(right, random.uniform(28, 48), random.uniform(36, 58)).astype(np.float32)
    outward = np.abs(x) - 70
    sag = 9 * np.sin((y + 20) / 32) + 5 * space.ripple[0]
    oblique = (z - start - steep * (y - 42) - 0.14 * outward + sag + 0.6 * drop) / np.sqrt(1 + steep**2)
    level = random.uniform(-42, -22) + 0.5 * drop
    horizontal = z - level - 0.10 * (y + 60) + 0.12 * outward + 4 * space.ripple[0] - 5 * np.cos((y + 60) / 40)
    return oblique.astype(np.float32), horizontal.astype(np.float32)
