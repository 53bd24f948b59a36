"""How sure a network is of a mask: entropy in each voxel, disagreement under small changes for each structure.

Both come from the same few runs: the slices as they are, turned a little, mirrored. The strategies choose cases by
these numbers; annotators look at the volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from datastore.volume import Volume
from infers.joined_model import JoinedModel
from infers.models import Model
from infers.network_model import NetworkModel, run_slices
from infers.perturbations import PerturbedBackend, perturbations
from infers.restoring import restore
from infers.skipping import with_tissue

LEAST_PROBABILITY = 1e-12


@dataclass(frozen=True)
class StructureUncertainty:
    """Of one structure.

    Attributes:
        name: Of the structure.
        entropy: Mean over the voxels that any run gave to it, 0 (sure) to 1 (knows nothing); 0 if there are none.
        disagreement: 1 minus the mean Dice of the runs' masks, pair by pair: 0 (all equal) to 1; 0 if none has any.
    """

    name: str
    entropy: float
    disagreement: float


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Of one scan.

    Attributes:
        entropy_percent: (z, y, x) uint8 on the scan's grid: 0 sure, 100 all classes equally likely.
        structures: One number of each kind for each structure.
    """

    entropy_percent: Volume
    structures: tuple[StructureUncertainty, ...]


def uncertainty(volume: Volume, model: Model) -> Uncertainty:
    """How sure a network is of a scan's mask.

    The mask itself is the business of `segment`; this takes about four times its time.

    Args:
        volume: (z, y, x) int16 Hounsfield units in any orientation.
        model: A network from `load_model`.

    Raises:
        ValueError: If the model is no network: only those give probabilities.
    """
    if isinstance(model, JoinedModel):
        model = model.network
    if not isinstance(model, NetworkModel):
        raise ValueError(f"uncertainty needs a network, got the model {model.version}, which gives no probabilities")
    upright = volume.to_lps()
    hu = np.ascontiguousarray(upright.array)
    how, structures = model.weights.preprocessing, model.structures
    variants = perturbations(structures)
    percent = np.zeros((len(hu), how.size, how.size), dtype=np.uint8)
    boxes = np.zeros((len(hu), 4), dtype=np.int64)
    tallies = np.zeros((len(hu), len(structures), 2 + 2 * len(list(combinations(variants, 2)))))

    def take(indices: Sequence[int], probabilities: np.ndarray, found: np.ndarray) -> None:
        boxes[indices] = found
        entropy = _entropy(probabilities.mean(axis=1))
        percent[indices] = np.rint(100 * entropy)
        masks = probabilities.argmax(axis=2)
        areas = (found[:, 2] - found[:, 0]) * (found[:, 3] - found[:, 1])  # a network's pixel covers so much more
        for place, structure in enumerate(structures):
            tallies[indices, place] = _tally(masks == structure.value, entropy) * areas[:, np.newaxis]

    run_slices(hu, with_tissue(hu, range(len(hu))), how, PerturbedBackend(model.backend, variants), take)
    names = [structure.name for structure in structures]
    return Uncertainty(
        volume.with_lps_array(restore(percent, boxes, (hu.shape[1], hu.shape[2]))),
        tuple(_numbers(name, sums) for name, sums in zip(names, tallies.sum(axis=0), strict=True)),
    )


def _entropy(probabilities: np.ndarray) -> np.ndarray:
    """(slices, classes, y, x) probabilities to (slices, y, x) in 0..1."""
    likely = np.maximum(probabilities, LEAST_PROBABILITY)
    return np.asarray(-(likely * np.log(likely)).sum(axis=1) / np.log(probabilities.shape[1]))


def _tally(masks: np.ndarray, entropy: np.ndarray) -> np.ndarray:
    """For each slice: entropy and count of the pixels of any run, then for each pair of runs the common and the sum.

    Args:
        masks: (slices, variants, y, x) bool.
        entropy: (slices, y, x).
    """
    anywhere = masks.any(axis=1)
    columns = [(entropy * anywhere).sum(axis=(1, 2)), anywhere.sum(axis=(1, 2))]
    for one, other in combinations(range(masks.shape[1]), 2):
        common = masks[:, one] & masks[:, other]
        columns += [common.sum(axis=(1, 2)), masks[:, [one, other]].sum(axis=(1, 2, 3))]
    return np.stack(columns, axis=1)


def _numbers(name: str, sums: np.ndarray) -> StructureUncertainty:
    entropy, voxels = sums[:2]
    common, either = sums[2::2], sums[3::2]
    if not voxels:
        return StructureUncertainty(name, 0.0, 0.0)
    dice = [2 * float(part) / float(whole) if whole else 1.0 for part, whole in zip(common, either, strict=True)]
    return StructureUncertainty(name, float(entropy / voxels), 1.0 - float(np.mean(dice)))
