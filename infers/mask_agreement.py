"""Two masks compared structure by structure, by whatever does it fastest here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from infers.agreement import Agreement
from infers.native import surface_kernels
from infers.native_surfaces import native_agreements
from infers.plain_surfaces import plain_agreements


def agreements(
    reference: np.ndarray,
    prediction: np.ndarray,
    values: Sequence[int],
    spacing_mm: tuple[float, float, float],
    threads: int = 1,
) -> Iterator[Agreement]:
    """Compare two masks, one structure after the other.

    Compiled functions do it where there are any, numpy and scipy elsewhere; the numbers are the same.

    Args:
        reference: (z, y, x) uint8 labels.
        prediction: (z, y, x) uint8 labels.
        values: Of the structures.
        spacing_mm: Of (z, y, x).
        threads: That share the work on each structure.

    Raises:
        ValueError: If the shapes differ.
        UnknownLabelError: If there is a value that is neither 0 nor a structure's.
    """
    if reference.shape != prediction.shape:
        raise ValueError(f"expected masks of one shape, got {reference.shape} and {prediction.shape}")
    axes = np.argsort([-abs(stride) for stride in reference.strides], kind="stable")  # as it lies in memory
    ahead = tuple(slice(None, None, -1 if reference.strides[axis] < 0 else 1) for axis in axes)
    reference, prediction = (np.ascontiguousarray(mask.transpose(axes)[ahead]) for mask in (reference, prediction))
    z, y, x = (spacing_mm[axis] for axis in axes)
    kernels = surface_kernels()
    if kernels is None:
        return plain_agreements(reference, prediction, values, (z, y, x))
    return native_agreements(kernels, reference, prediction, values, (z, y, x), threads)
