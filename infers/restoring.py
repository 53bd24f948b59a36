"""From the network's pixels back to the scan's: labels by nearest neighbour, or from scores without stair steps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from infers.resampling import between, nearest


def restore(labels: np.ndarray, boxes: np.ndarray, shape: tuple[int, int], out: np.ndarray | None = None) -> np.ndarray:
    """Labels of the network's slices back in the frame of the scan; undoes `preprocess` by nearest neighbour.

    Gives lungmask 0.2's masks to the pixel (`utils.reshape_mask`).

    Args:
        labels: (slices, size, size) uint8.
        boxes: (slices, 4) crops from `preprocess`.
        shape: (y, x) of the scan's slices.
        out: (slices, y, x) uint8 to write into; a new array where None.

    Returns:
        (slices, y, x) uint8.

    Raises:
        ValueError: If `out` has another shape or type.
    """
    whole = _blank((len(labels), *shape), out)
    for small, (top, left, bottom, right), frame in zip(labels, boxes.tolist(), whole, strict=True):
        found = _extent(small)
        if found is None:
            continue
        rows, columns = nearest(small.shape[0], bottom - top), nearest(small.shape[1], right - left)
        first_row, end_row = np.searchsorted(rows, found.rows)
        first_column, end_column = np.searchsorted(columns, found.columns)
        wide = small.take(columns[first_column:end_column], axis=1, mode="clip")
        part = frame[top + first_row : top + end_row, left + first_column : left + end_column]
        part[...] = wide.take(rows[first_row:end_row], axis=0, mode="clip")
    return whole


def restore_smooth(
    scores: np.ndarray, boxes: np.ndarray, shape: tuple[int, int], out: np.ndarray | None = None
) -> np.ndarray:
    """The likeliest label of each pixel of the scan, from probabilities interpolated between the network's pixels.

    The network's pixels lie where `preprocess` took them from, so an outline neither shifts nor grows against
    `restore`; it only loses its stair steps.

    Args:
        scores: (slices, classes, size, size) float32 logits or log-probabilities; class 0 is the background.
        boxes: (slices, 4) crops from `preprocess`.
        shape: (y, x) of the scan's slices.
        out: (slices, y, x) uint8 to write into; a new array where None.

    Returns:
        (slices, y, x) uint8; the lower label where two are as likely.

    Raises:
        ValueError: If `out` has another shape or type.
    """
    whole = _blank((len(scores), *shape), out)
    for planes, (top, left, bottom, right), frame in zip(scores, boxes.tolist(), whole, strict=True):
        labels = likeliest(planes)
        found = _extent(labels)
        if found is None:
            continue
        y = _line(labels.shape[0], bottom - top, *found.rows)
        x = _line(labels.shape[1], right - left, *found.columns)
        part = frame[top:bottom, left:right][y.pixels, x.pixels]
        _paint(planes[:, y.window, x.window], labels[y.window, x.window], y, x, part)
    return whole


class Extent(NamedTuple):
    """Rows and columns that hold labels: first and end."""

    rows: tuple[int, int]
    columns: tuple[int, int]


class Line(NamedTuple):
    """The pixels of a crop, along one axis, that labels in a window of the network's pixels can reach.

    Attributes:
        window: Of the network's pixels.
        pixels: Of the crop.
        lower: For each of those, the pixel of the window at or before it.
        upper: The next one.
        share: float32 share of `upper`.
    """

    window: slice
    pixels: slice
    lower: np.ndarray
    upper: np.ndarray
    share: np.ndarray


def _line(size: int, wanted: int, first: int, end: int) -> Line:
    table = between(size, wanted)
    begin = max(first - 1, 0)
    start, stop = (int(edge) for edge in np.searchsorted(table.lower, (begin, end)))
    pixels = slice(start, stop)
    share = (table.upper_share[pixels] / table.shares).astype(np.float32)
    return Line(slice(begin, end + 1), pixels, table.lower[pixels] - begin, table.upper[pixels] - begin, share)


def _paint(planes: np.ndarray, labels: np.ndarray, y: Line, x: Line, part: np.ndarray) -> None:
    """Write one slice's labels; interpolate only where the four network pixels around differ.

    A weighted mean keeps an order that all four share, so elsewhere their label is the likeliest.
    """
    part[...] = labels.take(x.lower, axis=1, mode="clip").take(y.lower, axis=0, mode="clip")
    mixed = _mixed(labels).take(x.lower, axis=1, mode="clip").take(y.lower, axis=0, mode="clip")
    spots = np.flatnonzero(mixed)
    rows, columns = np.divmod(spots, mixed.shape[1])
    classes, _, width = planes.shape
    chances = np.exp(planes - planes.max(axis=0))
    chances /= chances.sum(axis=0)
    chances = chances.reshape(classes, -1)
    share, left, right = x.share[columns], x.lower[columns], x.upper[columns]
    above, below = y.lower[rows] * width, y.upper[rows] * width
    upper = _mean(chances.take(above + left, axis=1), chances.take(above + right, axis=1), share)
    lower = _mean(chances.take(below + left, axis=1), chances.take(below + right, axis=1), share)
    part[rows, columns] = likeliest(_mean(upper, lower, y.share[rows]))


def _mean(first: np.ndarray, second: np.ndarray, share_of_second: np.ndarray) -> np.ndarray:
    return first * (1 - share_of_second) + second * share_of_second


def _mixed(labels: np.ndarray) -> np.ndarray:
    """(y, x) bool: whether a pixel and its next ones to the right, below and both carry more than one label."""
    across, down = labels[:, :-1] != labels[:, 1:], labels[:-1] != labels[1:]
    mixed = np.zeros(labels.shape, dtype=bool)
    mixed[:, :-1] = across
    mixed[:-1, :-1] |= across[1:]
    mixed[:-1] |= down
    return mixed


def likeliest(scores: np.ndarray) -> np.ndarray:
    """`scores.argmax(axis=0)` as uint8, several times as fast for a few classes.

    Args:
        scores: (classes, ...).
    """
    best = scores[0]
    labels = np.zeros(best.shape, dtype=np.uint8)
    for label in range(1, len(scores)):
        np.copyto(labels, label, where=scores[label] > best, casting="unsafe")
        best = np.maximum(best, scores[label])
    return labels


def _extent(labels: np.ndarray) -> Extent | None:
    """Where a (y, x) slice has labels; None where it has none."""
    rows = np.flatnonzero(labels.max(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(labels.max(axis=0))
    return Extent((int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1))


def _blank(shape: tuple[int, ...], out: np.ndarray | None) -> np.ndarray:
    if out is None:
        return np.zeros(shape, dtype=np.uint8)
    if out.shape != shape or out.dtype != np.uint8:
        raise ValueError(f"expected out as {shape} uint8, got {out.shape} {out.dtype}")
    out[...] = 0
    return out
