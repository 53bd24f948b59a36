"""Which connected pieces of a mask stay, and under which label."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from infers.lung_labels import LungLabels
from infers.region_merging import RegionMerging
from infers.regions import Regions

SMALLEST_PIECE_ML = 25.0  # Hofmanninger et al. 2020, sec. II-E
SMALLEST_CUT_PIECE_ML = 1.0  # may be the tip of a lung that lies outside the scan
SMALLEST_THROUGH_PIECE_ML = 0.1  # in a scan so thin that it cuts the piece on both sides
LARGEST_ISLET_SHARE = 0.05  # of what it is part of: a lobe of a newborn is no islet
SMALLEST_LUNG_SHARE = 0.1  # of the other lung; a smaller one does not tell where the middle is


def large_pieces(pieces: Regions, voxel_ml: float) -> np.ndarray:
    """The paper's rule: what is not connected to 25 ml goes.

    Args:
        pieces: Of the mask, by faces.
        voxel_ml: Volume of a voxel in ml.

    Returns:
        (pieces + 1,) uint8 new label of each piece; 0 is background.
    """
    whole_ml, whole = _wholes(pieces, voxel_ml)
    return np.where(whole_ml[whole] >= SMALLEST_PIECE_ML, pieces.labels, 0).astype(np.uint8)


def mended_pieces(pieces: Regions, voxel_ml: float, at_ends: tuple[bool, bool], lungs: LungLabels) -> np.ndarray:
    """Our rules.

    1. What is not connected to 25 ml, under any label, goes; where an end of the scan cuts it, 1 ml is enough, and
       where both do, 0.1 ml.
    2. An islet joins the label with the largest common border. That is a piece of a label below 25 ml and
       below 5 % of what it is connected to. The largest piece of a lobe is none, as a lobe can collapse.
    3. A piece of a lung belongs to the other lung if it lies wholly on the other's side both of the main piece of
       its own and of the middle between the two main pieces. Where these are swapped themselves, or one is not a
       tenth of the other, nothing is done.

    Args:
        pieces: Of the mask, by faces.
        voxel_ml: Volume of a voxel in ml.
        at_ends: Whether the first and the last slice here are those of the scan.
        lungs: Which labels are which lung.

    Returns:
        (pieces + 1,) uint8 new label of each piece; 0 is background.
    """
    whole_ml, whole = _wholes(pieces, voxel_ml)
    cuts = np.zeros(len(whole_ml), np.int64)
    for is_end, plane in zip(at_ends, (0, -1), strict=True):
        if is_end:
            cuts[np.unique(whole[np.unique(pieces.numbers[plane])])] += 1
    needed_ml = np.array([SMALLEST_PIECE_ML, SMALLEST_CUT_PIECE_ML, SMALLEST_THROUGH_PIECE_ML])[cuts]
    values = np.where((whole_ml >= needed_ml)[whole], pieces.labels, 0).astype(np.uint8)
    group = _with_islets_joined(pieces, values, voxel_ml, whole_ml[whole], lungs)
    if lungs.are_whole_lungs:
        _mend_sides(pieces, values, group, lungs.right[0], lungs.left[0])
    return values[group]


def _wholes(pieces: Regions, voxel_ml: float) -> tuple[np.ndarray, np.ndarray]:
    """What touches, whatever its labels.

    Two large pieces that touch may count as two: both are large enough by themselves.

    Returns:
        (wholes,) float64 ml, and (pieces + 1,) the whole of each piece.
    """
    numbers = np.arange(1, len(pieces) + 1)
    small = numbers[pieces.voxels[1:] * voxel_ml < SMALLEST_PIECE_ML]
    first, second = pieces.contacts(small, connectivity=6)
    size = len(pieces) + 1
    graph = sparse.coo_array((np.ones(len(first), bool), (first, second)), shape=(size, size))
    count, whole = csgraph.connected_components(graph, directed=False)
    return np.bincount(whole, weights=pieces.voxels, minlength=count) * voxel_ml, whole


def _with_islets_joined(
    pieces: Regions, values: np.ndarray, voxel_ml: float, whole_ml: np.ndarray, lungs: LungLabels
) -> np.ndarray:
    """(pieces + 1,) int64 the piece that each one is part of once islets have joined their surroundings."""
    pieces_ml = pieces.voxels * voxel_ml
    is_islet = (values > 0) & (pieces_ml < np.minimum(SMALLEST_PIECE_ML, LARGEST_ISLET_SHARE * whole_ml))
    if not lungs.are_whole_lungs:
        order = np.argsort(pieces.voxels, kind="stable")
        largest = dict(zip(pieces.labels[order].tolist(), order.tolist(), strict=True))
        is_islet[list(largest.values())] = False
    islets = np.flatnonzero(is_islet)
    islets = islets[np.argsort(pieces.voxels[islets], kind="stable")]
    merging = RegionMerging(pieces, islets)
    for islet in islets.tolist():
        neighbours, faces = merging.neighbours(islet)
        border = np.bincount(pieces.labels[neighbours], weights=faces)
        of_label = pieces.labels[neighbours] == border.argmax()
        merging.join(islet, int(neighbours[of_label][faces[of_label].argmax()]))
    return merging.group


def _mend_sides(pieces: Regions, values: np.ndarray, group: np.ndarray, right: int, left: int) -> None:
    """Give pieces, in place, to the lung on whose side they lie."""
    voxels = np.bincount(group, weights=pieces.voxels, minlength=len(group))
    groups = np.flatnonzero((voxels > 0) & ((values == right) | (values == left)))
    groups = groups[np.argsort(-voxels[groups], kind="stable")]
    if len(groups) < 3 or (values[groups] == values[groups[0]]).all():
        return
    main_right, main_left = np.argmax(values[groups] == right), np.argmax(values[groups] == left)
    if voxels[groups[[main_right, main_left]]].min() < SMALLEST_LUNG_SHARE * voxels[groups[0]]:
        return
    rank = np.zeros(len(group), np.int64)
    rank[groups] = np.arange(1, len(groups) + 1)
    columns = pieces.columns(rank[group], len(groups))[1:]
    x = np.arange(columns.shape[1])
    first, last = np.argmax(columns > 0, axis=1), x[-1] - np.argmax(columns[:, ::-1] > 0, axis=1)
    right_x, left_x = (np.average(x, weights=columns[main]) for main in (main_right, main_left))
    if right_x >= left_x:
        return
    middle = (right_x + left_x) / 2
    beyond_left = (values[groups] == right) & (first > max(last[main_right], middle))
    beyond_right = (values[groups] == left) & (last < min(first[main_left], middle))
    values[groups[beyond_left]] = left
    values[groups[beyond_right]] = right
