"""lungmask's postprocessing, voxel for voxel, without its passes over the whole image for each region.

Every region but the largest of its label joins the neighbour with the largest common border, then each label keeps
its largest piece, and the holes in it are filled (`lungmask.utils.postprocessing` of version 0.2.22).
"""

from __future__ import annotations

from collections.abc import Collection

import fill_voids
import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from infers.region_merging import RegionMerging
from infers.regions import BATCH_SHARE, Box, Regions, bounding_box, find_regions, region_numbers

SMALLEST_JOINING = 3  # voxels; smaller regions join nothing
SMALLEST_OPEN_HOLE = 64  # pixels; in a single slice, such holes stay


def lungmask_postprocess(labels: np.ndarray, spare: Collection[int] = ()) -> np.ndarray:
    """What lungmask makes of the network's labels.

    Of a lung in two pieces it keeps the larger one only; `infers.postprocess` keeps both.

    Args:
        labels: (z, y, x) uint8 labels on the network's grid; 0 is background.
        spare: Labels that are given to neighbours and never kept (lungmask's fused models).

    Returns:
        (z, y, x) uint8, a new array.

    Raises:
        ValueError: If `labels` has not three axes or is not uint8.
    """
    if labels.ndim != 3 or labels.dtype != np.uint8:
        raise ValueError(f"expected labels as (z, y, x) uint8, got shape {labels.shape} of {labels.dtype}")
    result = np.zeros(labels.shape, np.uint8)
    box = bounding_box(labels)
    crop = labels[box].copy()
    if not crop.size:
        return result
    regions = Regions.counted(_numbered(crop, swapped=labels.shape[2] == 1), crop)
    group, kept = _joined(regions, spare)
    _draw_largest_pieces(regions, group, kept, crop)
    for label in np.flatnonzero(np.bincount(kept[group])[1:]) + 1:
        around, filled = _filled(crop == label, box, labels.shape)
        result[around][filled] = label
    return result


def _numbered(labels: np.ndarray, swapped: bool) -> np.ndarray:
    """Regions in the order of scikit-image, which swaps two axes of an image that is one voxel wide."""
    if not swapped:
        return region_numbers(labels, connectivity=26)
    return np.ascontiguousarray(region_numbers(labels.swapaxes(0, 2), connectivity=26).swapaxes(0, 2))


def _joined(regions: Regions, spare: Collection[int]) -> tuple[np.ndarray, np.ndarray]:
    """Let regions join their neighbours, the smallest first.

    Returns:
        (regions + 1,) int64, the region that each one is part of in the end, and (regions + 1,) uint8, the label
        of each such region or 0.
    """
    is_spare = np.isin(regions.labels, list(spare))
    order = np.argsort(regions.voxels[1:], kind="stable") + 1
    kept, most = _records(regions, order)
    order = order[regions.voxels[order] >= SMALLEST_JOINING]
    stays = (kept > 0) & (regions.voxels == most[regions.labels]) & ~is_spare  # as far as can be known now
    merging = RegionMerging(regions, order[~stays[order]])
    for region in order.tolist():
        if merging.voxels[region] >= most[regions.labels[region]] and not is_spare[region]:
            continue
        neighbours, faces = merging.neighbours(region)
        allowed = ~is_spare[neighbours]
        if not allowed.any():
            continue
        into = int(neighbours[allowed][faces[allowed].argmax()])
        if merging.voxels[into] == most[regions.labels[into]]:
            most[regions.labels[into]] += merging.voxels[region]
        merging.join(region, into)
    kept[is_spare] = 0
    return merging.group, kept


def _records(regions: Regions, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which regions are larger than all before them of their label; lungmask keeps only those, and what joins them.

    Returns:
        (regions + 1,) uint8, the label of each such region and 0 for the others, and (256,) int64, the voxels of
        each label's largest.
    """
    kept = np.zeros(len(regions) + 1, np.uint8)
    most = np.zeros(256, np.int64)
    for region, label, voxels in zip(order, regions.labels[order], regions.voxels[order], strict=True):
        if voxels > most[label]:
            most[label] = voxels
            kept[region] = label
    return kept, most


def _draw_largest_pieces(regions: Regions, group: np.ndarray, kept: np.ndarray, image: np.ndarray) -> None:
    """Write the largest connected piece of each label into a (z, y, x) uint8 image.

    Where one group of regions is larger than all others of its label together, only the others that touch it have
    to be found, and they are few voxels; otherwise all pieces are looked for again.
    """
    labels = kept[group]
    voxels = np.bincount(group, weights=regions.voxels, minlength=len(group))
    order = np.argsort(voxels)
    largest = np.zeros(256, np.int64)
    largest[kept[order]] = order  # the last one stays
    of_label = np.bincount(labels, weights=regions.voxels, minlength=256)
    others = np.flatnonzero((labels > 0) & (group != largest[labels]))
    is_clear = (2 * voxels[largest[labels]] > of_label[labels])[labels > 0].all()
    if not is_clear or regions.voxels[others].sum() > regions.numbers.size // BATCH_SHARE:
        _keep_largest_pieces(regions.mapped(labels, out=image))
        return
    first, second = regions.contacts(others, connectivity=26)
    alike = labels[first] == labels[second]
    edges = group[first[alike]], group[second[alike]]
    graph = sparse.coo_array((np.ones(len(edges[0]), bool), edges), shape=(len(group), len(group)))
    piece = csgraph.connected_components(graph, directed=False)[1]
    regions.mapped(np.where(piece[group] == piece[largest[labels]], labels, 0), out=image)


def _keep_largest_pieces(labels: np.ndarray) -> None:
    """Remove all but the largest piece of each label from a (z, y, x) uint8 image.

    Among equals, the piece stays that numpy's sort of floats puts last, as in lungmask.
    """
    pieces = find_regions(labels, connectivity=26)
    is_largest = np.zeros(len(pieces) + 1, bool)
    for label in np.flatnonzero(np.bincount(pieces.labels)[1:]) + 1:
        numbers = np.flatnonzero(pieces.labels == label)
        is_largest[numbers[np.argsort(pieces.voxels[numbers].astype(np.float64))[-1]]] = True
    pieces.mapped(np.where(is_largest, pieces.labels, 0), out=labels)


def _filled(mask: np.ndarray, box: Box, shape: tuple[int, ...]) -> tuple[Box, np.ndarray]:
    """A mask with its holes filled; in a single slice, holes below 64 pixels only.

    `fill_voids` 2.1 takes some open background in the edges between two faces of the image for holes, which depends
    on the order of the axes, and so does lungmask. Where the mask reaches the ends of one axis at most, the order
    does not matter, and the faster one is taken.

    Args:
        mask: (z, y, x) bool, not empty.
        box: Its place in the image.
        shape: Of the image.

    Returns:
        A part of the image, and (z, y, x) bool the filled mask there.
    """
    tight = bounding_box(mask)
    place = [slice(b.start + t.start, b.start + t.stop) for b, t in zip(box, tight, strict=True)]
    z, y, x = (slice(max(0, span.start - 1), min(size, span.stop + 1)) for span, size in zip(place, shape, strict=True))
    part = np.zeros([span.stop - span.start for span in (z, y, x)], bool)
    inside = [slice(p.start - span.start, p.stop - span.start) for p, span in zip(place, (z, y, x), strict=True)]
    part[tuple(inside)] = mask[tight]
    if shape[0] == 1:
        return (z, y, x), part | _small_holes(part)
    if sum(span.start > 0 and span.stop < size for span, size in zip(place, shape, strict=True)) >= 2:
        return (z, y, x), fill_voids.fill(part.T, in_place=True).T
    return (z, y, x), fill_voids.fill(part)


def _small_holes(mask: np.ndarray) -> np.ndarray:
    """Holes below 64 pixels in a single slice: (1, y, x) bool."""
    background = find_regions((~mask).astype(np.uint8), connectivity=6)
    is_hole = (background.voxels < SMALLEST_OPEN_HOLE) & (background.labels > 0)
    numbers = background.numbers[0]
    for edge in (numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]):
        is_hole[edge] = False
    return background.mapped(is_hole).astype(bool)
