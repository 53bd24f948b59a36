"""The box around the body in one slice, as lungmask 0.2 finds it (`utils.simple_bodymask`, `utils.crop_and_resize`)."""

from __future__ import annotations

from functools import lru_cache

import cc3d
import numpy as np

from infers.resampling import TABLES_KEPT, nearest

BODY_THRESHOLD_HU = -500
BODY_GRID = 128  # the body is looked for on a 128 x 128 picture of the slice


def body_box(slice_hu: np.ndarray, window_hu: tuple[int, int] = (-1024, 600)) -> tuple[int, int, int, int]:
    """The box around the body in one slice.

    Lungmask enlarges its 128 x 128 mask to the slice and takes the box of the first piece there. Enlarging repeats
    pixels, so the box follows from the small mask and from where the slice's pixels are taken from.

    Args:
        slice_hu: (y, x) int16 Hounsfield units along LPS.
        window_hu: The slice is clipped to this before the body is looked for.

    Returns:
        First row, first column, end row, end column; the whole frame where there is no body.
    """
    height, width = slice_hu.shape
    (rows, top, bottom), (columns, left, right) = _repeats(height), _repeats(width)
    mask = _body(_small(slice_hu, window_hu) > BODY_THRESHOLD_HU)
    if rows[-1] >= len(rows) or columns[-1] >= len(columns):
        # a slice of few pixels skips some of the grid's, which may part the body
        mask = _pieces_touching_at_corners(mask[np.ix_(rows, columns)]) == 1
    else:
        # two dilations hold the body together, even where scipy's rounding drops the grid's last row or column
        mask = mask[: len(rows), : len(columns)]
    y, x = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(y):
        return 0, 0, height, width
    return int(top[y[0]]), int(left[x[0]]), int(bottom[y[-1]]), int(right[x[-1]])


@lru_cache(TABLES_KEPT)
def _repeats(wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels of the body's grid that `wanted` pixels are taken from; the first and end pixel that each fills."""
    table = nearest(BODY_GRID, wanted)
    taken, first = np.unique(table, return_index=True)
    return taken, first, np.append(first[1:], len(table))


def _small(slice_hu: np.ndarray, window_hu: tuple[int, int]) -> np.ndarray:
    """The slice on the body's grid; 0 HU where scipy's rounding takes no pixel."""
    rows, columns = nearest(slice_hu.shape[0], BODY_GRID), nearest(slice_hu.shape[1], BODY_GRID)
    small = np.zeros((BODY_GRID, BODY_GRID), dtype=np.int16)
    taken = slice_hu.take(rows, axis=0, mode="clip").take(columns, axis=1, mode="clip")
    small[: len(rows), : len(columns)] = taken.clip(*window_hu)
    return small


def _body(mask: np.ndarray) -> np.ndarray:
    """The largest piece after closing, filling and erosion, dilated again; nothing where nothing is left."""
    closed = _eroded(_dilated(mask))
    outside = _pieces_touching_at_corners(~closed)  # closing empties the outermost pixels, so [0, 0] is outside
    small = _eroded(_eroded(outside != outside[0, 0]))
    pieces, count = cc3d.connected_components(small, connectivity=4, return_N=True)
    if count > 1:
        small = pieces == np.argmax(np.bincount(pieces.ravel())[1:]) + 1
    return _dilated(_dilated(small))


def _pieces_touching_at_corners(mask: np.ndarray) -> np.ndarray:
    """Numbered from 1 in the order of their first pixels; 0 elsewhere."""
    # as uint8, since cc3d 4.1 numbers pixels outside the mask where a side is odd and the mask is bool
    return cc3d.connected_components(mask.view(np.uint8), connectivity=8)


def _dilated(mask: np.ndarray) -> np.ndarray:
    """With its four neighbours, as `ndimage.binary_dilation`."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _eroded(mask: np.ndarray) -> np.ndarray:
    """As `ndimage.binary_erosion`: nothing lies beyond the border, so the outermost pixels go."""
    shrunk = mask.copy()
    shrunk[1:] &= mask[:-1]
    shrunk[:-1] &= mask[1:]
    shrunk[:, 1:] &= mask[:, :-1]
    shrunk[:, :-1] &= mask[:, 1:]
    shrunk[[0, -1]] = shrunk[:, [0, -1]] = False
    return shrunk
