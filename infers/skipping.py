"""Which slices of a scan need the network: in a whole body most lie far from any lung.

First every n-th slice is looked at, then all those around the ones that show lung. A lung ends where slices without
any lie to both sides for `MARGIN_MM`; what a network makes up in between, far from the lungs, is never seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

STEP_MM = 30.0  # no lung is less tall
MARGIN_MM = 45.0
TISSUE_HU, LEAST_TISSUE = -500, 0.005  # share of a slice's pixels


def run_where_lungs_are(
    slices: int, spacing_z_mm: float, run: Callable[[Sequence[int]], None], shows_lung: Callable[[int], bool]
) -> int:
    """Call `run` for every n-th slice, then for the others as far as lung is near.

    Args:
        slices: Of the scan.
        spacing_z_mm: Between them.
        run: Segments the slices of these indices (rising).
        shows_lung: Whether a slice that was run shows any.

    Returns:
        How many slices were run.
    """
    step = max(int(STEP_MM / spacing_z_mm), 1)
    reach = int(np.ceil(MARGIN_MM / spacing_z_mm))
    coarse = sorted({*range(0, slices, step), slices - 1})
    run(coarse)
    done = np.zeros(slices, dtype=bool)
    done[coarse] = True
    fresh: Sequence[int] = coarse
    while True:
        near = np.zeros(slices, dtype=bool)
        for index in fresh:
            if shows_lung(index):
                near[max(index - reach, 0) : index + reach + 1] = True
        fresh = np.flatnonzero(near & ~done).tolist()
        if not fresh:
            return int(done.sum())
        run(fresh)
        done[fresh] = True


def with_tissue(hu: np.ndarray, indices: Sequence[int]) -> list[int]:
    """The slices that show more than air: beyond the head and the feet a network may find anything.

    Args:
        hu: (z, y, x) int16 Hounsfield units.
        indices: Of the slices to look at.
    """
    least = LEAST_TISSUE * hu[0].size
    return [index for index in indices if np.count_nonzero(hu[index] > TISSUE_HU) >= least]
