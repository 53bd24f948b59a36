"""Surfaces and their distances by numpy and scipy: slower, and the same numbers as those of the compiled functions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import fastremap
import numpy as np
from scipy import ndimage

from infers.agreement import Agreement, UnknownLabelError
from infers.surface_distances import DirectedDistances, SurfaceDistances
from infers.surfels import CODES, WEIGHTS, surfel_areas


def plain_agreements(
    reference: np.ndarray, prediction: np.ndarray, values: Sequence[int], spacing_mm: tuple[float, float, float]
) -> Iterator[Agreement]:
    """See `mask_agreement.agreements`."""
    for mask in (reference, prediction):
        unknown = set(fastremap.unique(mask).tolist()) - {0, *values}
        if unknown:
            raise UnknownLabelError(max(unknown))
    for value in values:
        one, other = reference == value, prediction == value
        box = _box(one | other)
        one, other = one[box], other[box]
        yield Agreement(int(one.sum()), int(other.sum()), int((one & other).sum()), _distances(one, other, spacing_mm))


def _distances(one: np.ndarray, other: np.ndarray, spacing_mm: tuple[float, float, float]) -> SurfaceDistances:
    first, second = _codes(one), _codes(other)
    return SurfaceDistances(_directed(first, second, spacing_mm), _directed(second, first, spacing_mm))


def _directed(codes: np.ndarray, others: np.ndarray, spacing_mm: tuple[float, float, float]) -> DirectedDistances:
    here, there = _is_surface(codes), _is_surface(others)
    together = np.bincount(codes[here & there], minlength=CODES)
    apart = here & ~there
    if there.any():
        mm = ndimage.distance_transform_edt(~there, sampling=spacing_mm)[apart]
    else:
        mm = np.full(int(apart.sum()), np.inf)
    return DirectedDistances(together, codes[apart], mm, surfel_areas(spacing_mm))


def _codes(mask: np.ndarray) -> np.ndarray:
    """(z + 1, y + 1, x + 1) uint8 neighbour codes of the corners."""
    codes = np.zeros([size + 1 for size in mask.shape], np.uint8)
    for corner, weight in WEIGHTS.items():
        there = tuple(slice(1 - step, size + 1 - step) for step, size in zip(corner, mask.shape, strict=True))
        codes[there] |= mask * np.uint8(weight)
    return codes


def _is_surface(codes: np.ndarray) -> np.ndarray:
    return (codes > 0) & (codes < CODES - 1)


def _box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """The smallest box that holds a mask; one voxel for an empty one."""
    spans = (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    z, y, x = (slice(span[0], span[-1] + 1) if span.size else slice(0, 1) for span in spans)
    return z, y, x
