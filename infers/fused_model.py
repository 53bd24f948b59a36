"""Two networks as one: the second says where lung is, the first which part; lungmask's fused mode (LTRCLobes_R231)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datastore.labels import Structure
from infers.lungmask_postprocess import lungmask_postprocess
from infers.network_model import NetworkModel


@dataclass(frozen=True, eq=False)
class FusedModel:
    """The labels of one network, on the lungs of another: lobes that miss dense disease are filled from R231's lungs.

    Attributes:
        labels: Says what is what.
        lungs: Says where lung is; what it leaves out is background.
    """

    labels: NetworkModel
    lungs: NetworkModel

    @property
    def version(self) -> str:
        """Of both."""
        return f"{self.labels.version}-filled-by-{self.lungs.version}"

    @property
    def description(self) -> str:
        """One sentence for people."""
        return f"{self.labels.description}; filled up to the lungs of a second network"

    @property
    def structures(self) -> Sequence[Structure]:
        """Of the first network."""
        return self.labels.structures

    @property
    def overlaps(self) -> bool:
        """See `Model`."""
        return self.labels.overlaps

    def predict(self, hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
        """See `Model.predict`."""
        fused = self.labels.predict(hu, spacing_mm)
        lungs = self.lungs.predict(hu, spacing_mm) > 0
        missing = int(fused.max()) + 1
        fused[lungs & (fused == 0)] = missing
        fused[~lungs] = 0
        return lungmask_postprocess(fused, spare=[missing])
