"""Which labels of a model belong to which lung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datastore.labels import LEFT_LUNG, RIGHT_LUNG, Structure


@dataclass(frozen=True)
class LungLabels:
    """The labels of the patient's two lungs.

    Attributes:
        right: Labels of the right lung or its lobes.
        left: Labels of the left lung or its lobes.
    """

    right: tuple[int, ...]
    left: tuple[int, ...]

    @property
    def are_whole_lungs(self) -> bool:
        """Whether each lung has one label, not one for each lobe."""
        return len(self.right) == len(self.left) == 1


WHOLE_LUNGS = LungLabels(right=(RIGHT_LUNG,), left=(LEFT_LUNG,))
LOBES = LungLabels(right=(3, 4, 5), left=(1, 2))  # upper, middle, lower; upper, lower: as in lungmask's LTRCLobes


def labels_among(structures: Sequence[Structure]) -> LungLabels:
    """The lungs among a model's structures, by their names: `right_lung`, `left_upper_lobe`."""
    right, left = (
        tuple(structure.value for structure in structures if structure.name.startswith(side))
        for side in ("right_", "left_")
    )
    return LungLabels(right, left)


def labels_of(mask: np.ndarray) -> LungLabels:
    """What the labels of a (z, y, x) mask most probably are: lobes where one is above 2, otherwise lungs."""
    return LOBES if mask.size and mask.max() > max(RIGHT_LUNG, LEFT_LUNG) else WHOLE_LUNGS
