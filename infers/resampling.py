"""Where the pixels of a resized picture come from: `scipy.ndimage.zoom` along one axis, as tables that are kept.

Corners stay on corners, as in scipy and therefore in lungmask: pixel k of `wanted` lies at
k (size - 1) / (wanted - 1).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndimage

TABLES_KEPT = 2048  # of some kilobytes each; crops of one scan need a few hundred


class Between(NamedTuple):
    """Each pixel of a resized line between two pixels of the line it is made from.

    Attributes:
        lower: (wanted,) index of the pixel at or before it.
        upper: (wanted,) index of the next one; the same at the end of the line.
        lower_share: (wanted,) int32 share of `lower`, of `shares`.
        upper_share: (wanted,) int32 share of `upper`, of `shares`.
        shares: What the two shares add up to.
    """

    lower: np.ndarray
    upper: np.ndarray
    lower_share: np.ndarray
    upper_share: np.ndarray
    shares: int


@lru_cache(TABLES_KEPT)
def nearest(size: int, wanted: int) -> np.ndarray:
    """The pixel that `ndimage.zoom(order=0)` takes for each of `wanted` pixels of a line of `size`.

    Scipy's rounding is followed to the last bit. At some sizes it puts the last pixel a hair past the end of the
    line, where scipy writes 0: the table is then one short.

    Returns:
        (wanted,) or (wanted - 1,) int, ascending.

    >>> nearest(3, 6).tolist()
    [0, 0, 1, 1, 2, 2]
    """
    position = np.arange(wanted) * ((size - 1) / max(wanted - 1, 1))
    table = np.floor(position[position <= size - 1] + 0.5).astype(np.intp)
    table.flags.writeable = False
    return table


@lru_cache(TABLES_KEPT)
def between(size: int, wanted: int) -> Between:
    """The two pixels, and their shares, that linear interpolation makes `wanted` pixels of a line of `size` from.

    >>> between(3, 4)[:4]
    (array([0, 0, 1, 2]), array([1, 1, 2, 2]), array([3, 1, 2, 3], dtype=int32), array([0, 2, 1, 0], dtype=int32))
    """
    shares = max(wanted - 1, 1)
    lower, upper_share = np.divmod(np.arange(wanted) * (size - 1), shares)
    upper = np.minimum(lower + 1, size - 1)
    tables = (lower, upper, (shares - upper_share).astype(np.int32), upper_share.astype(np.int32))
    for table in tables:
        table.flags.writeable = False
    return Between(*tables, shares)


def zoomed(image: np.ndarray, size: int) -> np.ndarray:
    """`ndimage.zoom(image, order=1)` to `size` x `size` pixels, to the bit.

    Every pixel is a whole number over (size - 1)^2. Where that is odd, none lies halfway between two whole numbers:
    all miss the half by 1 / (2 (size - 1)^2) at least, hundreds of times what scipy's floating point can be off by. So
    whole-number arithmetic rounds as scipy does; where it might not, or would overflow, scipy itself does it.

    Args:
        image: (y, x) int16.
        size: Pixels along each side of the result.

    Returns:
        (size, size) int32.
    """
    rows, columns = (between(length, size) for length in image.shape)
    whole = rows.shares * columns.shares
    largest = max(-int(image.min()), int(image.max()))
    past_the_end = any(len(nearest(length, size)) < size for length in image.shape)
    if whole % 2 == 0 or past_the_end or largest * whole + whole // 2 > np.iinfo(np.int32).max:
        return ndimage.zoom(image, size / np.array(image.shape), order=1).astype(np.int32)
    tall = image.astype(np.int32)
    flat = _blend(tall, rows.lower, rows.lower_share[:, np.newaxis], rows.upper, rows.upper_share[:, np.newaxis], 0)
    sums = _blend(flat, columns.lower, columns.lower_share, columns.upper, columns.upper_share, 1)
    sums += whole // 2
    sums //= whole
    return sums


def _blend(
    image: np.ndarray,
    lower: np.ndarray,
    lower_share: np.ndarray,
    upper: np.ndarray,
    upper_share: np.ndarray,
    axis: int,
) -> np.ndarray:
    """The weighted sum of the pixels of both indices along an axis."""
    # mode="clip" spares the check of every index; all are in range
    blended = image.take(lower, axis, mode="clip")
    blended *= lower_share
    other = image.take(upper, axis, mode="clip")
    other *= upper_share
    blended += other
    return blended
