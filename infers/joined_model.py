"""Two ways of finding lungs as one: the threshold knows where air ends, a network knows what dense lung is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import numpy as np

from datastore.labels import LUNGS, Structure
from infers.holes import fill_holes
from infers.morphology import depth_mm, distance_mm
from infers.network_model import NetworkModel
from infers.regions import bounding_box
from infers.threshold import threshold_lungs

AIR_HU = -500.0
THINNEST_MM = 5.0
"""Dense lung of the network that is thinner than this along the border of air is a border put differently."""
REACH_MM = 1.5
SMALLEST_SHARED = 0.1
FAILED_SHARE = 0.5
WHOLE_SHARE = 0.8
THICK_GAS_MM, DARKER_HU, LIGHTEST_GAS_HU = 8.0, 60.0, -940.0


@dataclass(frozen=True, eq=False)
class JoinedModel:
    """A lung network that found its border by itself learns it from the air.

    A network sees slices of 256 x 256 pixels, and one that was trained on synthetic scans alone knows shapes better
    than shades. The threshold is exact where lung is full of air, and blind where it is not.

    Attributes:
        network: Finds right and left lung.
    """

    network: NetworkModel
    description: str = "Lungs by U-net, with the border of their air; trained on synthetic patients alone"
    structures: Sequence[Structure] = LUNGS

    @property
    def version(self) -> str:
        """Of the network."""
        return joined_version(self.network.version)

    @property
    def overlaps(self) -> bool:
        """See `Model`."""
        return self.network.overlaps

    def predict(self, hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """See `Model.predict`."""
        found = self.network.predict(hu, spacing_mm)
        return join(threshold_lungs(hu, spacing_mm), found, hu, spacing_mm)


def joined_version(network: str) -> str:
    """The version of a network's `JoinedModel`."""
    return f"{network}-joined-1"


def join(aerated: np.ndarray, found: np.ndarray, hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The lungs of a threshold, with the dense lung that a network found.

    - Air that the network does not know at all is none of the lung: gas in the gut, folds of skin. Nor is a thick part
      that it does not know and that is far darker than the lung: gas in the gut where the diaphragm between is thin.
    - What is dense and lung to the network is added where it is thicker than `THINNEST_MM`.
    - Where the threshold finds less than half of the network's air, it has failed: the network decides alone.
    - Where there is no lung with air in it, there is no lung.

    Args:
        aerated: (z, y, x) uint8 mask of the threshold: 1 right lung, 2 left lung.
        found: (z, y, x) uint8 mask of the network.
        hu: (z, y, x) int16 Hounsfield units.
        spacing_mm: (z, y, x) voxel size in mm.

    Returns:
        (z, y, x) uint8.
    """
    air = hu < AIR_HU
    if np.count_nonzero((aerated > 0) & air) < FAILED_SHARE * np.count_nonzero((found > 0) & air):
        return found
    joined = _known_to(found, aerated)
    if not joined.any():
        return joined
    box = bounding_box((found > 0) | (joined > 0))
    inside, network = joined[box], found[box]
    inside[_gas(hu[box], (inside > 0) & (network == 0), (inside > 0) & (network > 0), spacing_mm)] = 0
    dense = (network > 0) & (inside == 0) & (~air[box] | _whole(air[box] & (inside == 0), network > 0))
    half_mm = max(THINNEST_MM / 2, 1.5 * max(spacing_mm[1:]))
    thick = dense & (depth_mm(dense, spacing_mm) > half_mm)
    if thick.any():
        dense &= distance_mm(thick, spacing_mm) <= half_mm + REACH_MM
        inside[dense] = network[dense]
        fill_holes(joined, [(structure.value,) for structure in LUNGS])
    return joined


def _known_to(found: np.ndarray, aerated: np.ndarray) -> np.ndarray:
    """The pieces of air of which the network knows at least a part."""
    joined = aerated.copy()
    pieces = cc3d.connected_components(aerated > 0, connectivity=6)
    voxels = np.bincount(pieces.ravel())
    known = np.bincount(pieces.ravel(), weights=(found > 0).ravel(), minlength=len(voxels))
    strange = known < SMALLEST_SHARED * voxels
    strange[0] = False
    joined[strange[pieces]] = 0
    return joined


def _whole(air: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The pieces of air that lie in a mask almost whole: cavities and pneumothorax, but no airway and no stomach."""
    pieces = cc3d.connected_components(air, connectivity=6)
    voxels = np.bincount(pieces.ravel())
    within = np.bincount(pieces.ravel(), weights=found.ravel(), minlength=len(voxels))
    whole = within >= WHOLE_SHARE * voxels
    whole[0] = False
    return whole[pieces]


def _gas(hu: np.ndarray, unknown: np.ndarray, known: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The thick parts of an unknown region that are as dark as gas beside the known lung."""
    gas = np.zeros_like(unknown)
    thick = unknown & (depth_mm(unknown, spacing_mm) > THICK_GAS_MM / 2)
    if not thick.any() or not known.any():
        return gas
    darkest = min(float(np.median(hu[known])) - DARKER_HU, LIGHTEST_GAS_HU)
    pieces = cc3d.connected_components(thick, connectivity=6)
    for number in range(1, int(pieces.max()) + 1):
        if np.median(hu[pieces == number]) < darkest:
            gas |= pieces == number
    if gas.any():
        gas = unknown & (distance_mm(gas, spacing_mm) <= THICK_GAS_MM / 2 + REACH_MM)
    return gas
