"""How far the surface of a mask lies from that of another, weighted by area as in DeepMind's surface-distance.

Source: Nikolov et al. 2018, arXiv:1809.04430; Hofmanninger et al. 2020, eqs 2 to 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DOUBTFUL = 1e-9  # of the whole area: so close to a percentile, rounding decides between two distances


@dataclass(frozen=True, eq=False)
class DirectedDistances:
    """Every element of one surface, with its area and its distance to another surface.

    Attributes:
        together: (256,) how many elements lie in the other surface, by neighbour code: their distance is 0.
        codes: (n,) uint8 neighbour codes of the others.
        mm: (n,) float64 distances of the others; inf where the other surface has no element.
        areas_mm2: (256,) area of an element by neighbour code.
    """

    together: np.ndarray
    codes: np.ndarray
    mm: np.ndarray
    areas_mm2: np.ndarray

    @property
    def is_empty(self) -> bool:
        """Whether the surface has no element."""
        return not self.codes.size and not self.together.any()

    @property
    def area_mm2(self) -> float:
        """Area of the surface."""
        return self._area_together_mm2 + float(self.areas_mm2[self.codes].sum())

    @property
    def sum_mm3(self) -> float:
        """Sum of distance times area."""
        return float(self.mm @ self.areas_mm2[self.codes]) if self.mm.size else 0.0

    @property
    def mean_mm(self) -> float:
        """Mean distance weighted by area: eq. 4 of the paper; nan for an empty surface."""
        return np.nan if self.is_empty else self.sum_mm3 / self.area_mm2

    @property
    def largest_mm(self) -> float:
        """Largest distance; inf for an empty surface."""
        if self.is_empty:
            return np.inf
        return float(self.mm.max()) if self.mm.size else 0.0

    def percentile_mm(self, percent: float) -> float:
        """The distance within which a share of the area lies: eq. 2 of the paper; inf for an empty surface."""
        if self.is_empty:
            return np.inf
        order = np.argsort(self.mm)
        mm, areas = self.mm[order], self.areas_mm2[self.codes[order]]
        shares = (self._area_together_mm2 + np.cumsum(areas)) / self.area_mm2
        at_zero = self._area_together_mm2 / self.area_mm2
        wanted = percent / 100
        if (np.abs(np.append(shares, at_zero) - wanted) < DOUBTFUL).any():
            return self._percentile_as_published_mm(wanted)
        if wanted <= at_zero:
            return 0.0
        return float(mm[min(int(np.searchsorted(shares, wanted)), len(mm) - 1)])

    def within_mm2(self, tolerance_mm: float) -> float:
        """Area that lies within a distance of the other surface."""
        return self._area_together_mm2 + float(self.areas_mm2[self.codes[self.mm <= tolerance_mm]].sum())

    def elements(self) -> tuple[np.ndarray, np.ndarray]:
        """Distance in mm and area in mm2 of every element, sorted by both, as surface-distance gives them."""
        codes = np.concatenate((np.repeat(np.arange(256, dtype=np.uint8), self.together), self.codes))
        mm = np.concatenate((np.zeros(int(self.together.sum())), self.mm))
        areas = self.areas_mm2[codes]
        order = np.lexsort((areas, mm))
        return mm[order], areas[order]

    @property
    def _area_together_mm2(self) -> float:
        return float(self.together @ self.areas_mm2)

    def _percentile_as_published_mm(self, share: float) -> float:
        """The same element that surface-distance takes, by the same sums in the same order."""
        mm, areas = self.elements()
        place = int(np.searchsorted(np.cumsum(areas) / np.sum(areas), share))
        return float(mm[min(place, len(mm) - 1)])


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """The surfaces of a reference and of a prediction, each measured against the other.

    Where only one of them is empty, the other's distances are inf; where both are, there are none. Then the numbers
    are those of surface-distance: Hausdorff distances inf, mean nan, surface Dice 0 or, where both are empty, nan.

    Attributes:
        of_reference: From the reference's surface to the prediction's.
        of_prediction: From the prediction's surface to the reference's.
    """

    of_reference: DirectedDistances
    of_prediction: DirectedDistances

    def hausdorff_mm(self, percent: float = 100) -> float:
        """Robust Hausdorff distance: eq. 3 of the paper with `percent` 95."""
        if percent == 100:
            return max(self.of_reference.largest_mm, self.of_prediction.largest_mm)
        return max(self.of_reference.percentile_mm(percent), self.of_prediction.percentile_mm(percent))

    @property
    def mean_mm(self) -> float:
        """Mean surface distance: eq. 5 of the paper; inf where one surface is empty, nan where both are."""
        both = [self.of_reference.mean_mm, self.of_prediction.mean_mm]
        return float(np.nan if np.isnan(both).all() else np.nanmax(both))

    @property
    def average_mm(self) -> float:
        """Average symmetric surface distance: mean over the elements of both surfaces, weighted by area."""
        area = self.of_reference.area_mm2 + self.of_prediction.area_mm2
        return (self.of_reference.sum_mm3 + self.of_prediction.sum_mm3) / area if area else np.nan

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces that lies within a tolerance of the other one, 0..1."""
        area = self.of_reference.area_mm2 + self.of_prediction.area_mm2
        within = self.of_reference.within_mm2(tolerance_mm) + self.of_prediction.within_mm2(tolerance_mm)
        return within / area if area else np.nan
