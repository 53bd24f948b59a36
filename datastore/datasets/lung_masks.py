"""Published lung masks turned into ours: 1 the right lung, 2 the left, on the grid of the image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import fastremap
import numpy as np

from datastore import image_files
from datastore.datasets.reference import PartSides
from datastore.labels import LEFT_LUNG, RIGHT_LUNG, check_sides
from datastore.volume import Volume

LARGEST_OVERLAP = 0.05  # share of the smaller lung; contours that touch share a rim, wrong ones share far more


def read_numbers(path: Path, image: Volume) -> Volume:
    """A mask file as published, in the axis order of its image.

    Args:
        path: A mask of whole numbers 0..255.
        image: The CT, (z, y, x).

    Returns:
        (z, y, x) uint8 in the numbering of the file.

    Raises:
        ValueError: If it is damaged, or its grid is not the image's; the message names it.
        FileNotFoundError: If it is not there.
    """
    mask = image_files.read_mask(path)
    try:
        return mask.on_grid_of(image)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def lungs_of_numbers(mask: Volume, sides: Mapping[int, int]) -> Volume:
    """Lungs from a mask that numbers lungs or lobes.

    Args:
        mask: (z, y, x) uint8 as published; 0 is background.
        sides: For each number that may stand in it, 1 right lung, 2 left lung or 0 neither.

    Returns:
        (z, y, x) uint8: 0 background, 1 right lung, 2 left lung.

    Raises:
        ValueError: If it has another number, no lung at all, or its sides are swapped.
    """
    table = np.zeros(256, np.uint8)
    for number in present_numbers(mask):
        if number not in sides:
            known = ", ".join(str(value) for value in sorted(sides))
            raise ValueError(f"label value {number} is unknown: expected 0 background, {known}")
        table[number] = sides[number]
    return checked_lungs(mask.with_array(table[mask.array]))


def lungs_of_sides(right: np.ndarray, left: np.ndarray, image: Volume) -> Volume:
    """Lungs from one mask for each.

    Args:
        right: (z, y, x) bool on the image's grid.
        left: The same of the left lung. Voxels in both, as where two contours touch, become right lung.
        image: The CT.

    Raises:
        ValueError: If a lung is empty, both share more than 5 % of the smaller, or the sides are swapped.
    """
    for name, mask in (("right", right), ("left", left)):
        if not mask.any():
            raise ValueError(f"the {name} lung is empty")
    shared = int(np.count_nonzero(right & left))
    smaller = min(int(np.count_nonzero(right)), int(np.count_nonzero(left)))
    if shared > LARGEST_OVERLAP * smaller:
        raise ValueError(f"right and left lung share {shared} voxels of {smaller}, expected at most a rim")
    lungs = np.where(left, LEFT_LUNG, 0).astype(np.uint8)
    lungs[right] = RIGHT_LUNG
    return checked_lungs(image.with_array(lungs))


def lungs_of_whole(whole: np.ndarray, image: Volume, part_sides: PartSides) -> Volume:
    """Lungs from a mask that does not tell right from left.

    Args:
        whole: (z, y, x) bool on the image's grid.
        image: The CT, (z, y, x) int16 Hounsfield units.
        part_sides: Parts it.

    Raises:
        ValueError: If the mask is empty.
    """
    if not whole.any():
        raise ValueError("the mask is empty")
    return checked_lungs(part_sides(image, image.with_array(whole.astype(np.uint8))))


def checked_lungs(lungs: Volume) -> Volume:
    """The lungs, if there are any and the right one lies to the patient's right.

    Raises:
        ValueError: If not.
    """
    if not lungs.array.any():
        raise ValueError("the mask is empty")
    check_sides(lungs.to_lps().array)
    return lungs


def present_numbers(mask: Volume) -> list[int]:
    """The numbers in a mask besides 0, ascending."""
    return [int(number) for number in fastremap.unique(mask.array) if number]
