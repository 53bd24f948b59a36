"""What the numbers in a mask mean: 1 the patient's right lung, 2 the left, as in R231; or the five lobes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import fastremap
import numpy as np

RIGHT_LUNG = 1
LEFT_LUNG = 2


@dataclass(frozen=True)
class Structure:
    """One labelled structure.

    Attributes:
        value: Its number in a mask.
        name: What the annotator sees and submits, e.g. `right_lung`.
        colour: Red, green, blue, each 0..1.
    """

    value: int
    name: str
    colour: tuple[float, float, float]


LUNGS = (
    Structure(RIGHT_LUNG, "right_lung", (0.94, 0.45, 0.35)),
    Structure(LEFT_LUNG, "left_lung", (0.35, 0.65, 0.94)),
)
LUNG_NAMES = tuple(structure.name for structure in LUNGS)
LOBES = (  # the numbering of lungmask's LTRCLobes; colours that colour-blind readers can tell apart (Okabe and Ito)
    Structure(1, "left_upper_lobe", (0.34, 0.71, 0.91)),
    Structure(2, "left_lower_lobe", (0.0, 0.62, 0.45)),
    Structure(3, "right_upper_lobe", (0.84, 0.37, 0.0)),
    Structure(4, "right_middle_lobe", (0.94, 0.89, 0.26)),
    Structure(5, "right_lower_lobe", (0.8, 0.47, 0.65)),
)
LABEL_MAPS: Mapping[str, tuple[Structure, ...]] = {"lungs": LUNGS, "lobes": LOBES}


def structure_named(name: str) -> Structure:
    """The structure of that name; case, spaces, dashes and underscores do not matter.

    Raises:
        ValueError: If no structure is called so.
    """
    key = name.strip().lower().replace(" ", "_").replace("-", "_")
    for structure in LUNGS:
        if structure.name == key:
            return structure
    raise ValueError(f"unknown segment {name!r}: expected one of {', '.join(LUNG_NAMES)}")


def renumber(mask: np.ndarray, names: Sequence[str | None] | None) -> np.ndarray:
    """A mask numbered our way, from one numbered by the order of the client's segments.

    3D Slicer writes voxel value v for the v-th segment of the scene, whatever the segment is: so segments
    are matched by name.

    Args:
        mask: (z, y, x) integers; 0 is background.
        names: Name of value 1, 2, ... in turn, None for an unused number; None altogether if the mask is
            numbered our way.

    Returns:
        (z, y, x) uint8: 0 background, 1 right lung, 2 left lung.

    Raises:
        ValueError: If a value has no name, a name is unknown, or two values have the same name.
    """
    present = [int(value) for value in fastremap.unique(mask)]
    known = {structure.value for structure in LUNGS}
    table: dict[int, int] = {0: 0}
    if names is None:
        table.update({value: value for value in known})
    else:
        for value, name in enumerate(names, start=1):
            if value not in present:
                continue
            if not name:
                raise ValueError(f"label value {value} has no segment name")
            table[value] = structure_named(name).value
        targets = [table[value] for value in present if value and value in table]
        if len(targets) != len(set(targets)):
            raise ValueError(f"two label values are the same segment: {[n for n in names if n]}")
    unknown = [value for value in present if value not in table]
    if unknown:
        expected = ", ".join(f"{s.value} {s.name}" for s in LUNGS)
        raise ValueError(f"label value {unknown[0]} is unknown: expected 0 background, {expected}")
    if all(table[value] == value for value in present):
        return np.ascontiguousarray(mask, dtype=np.uint8)
    result = np.zeros(mask.shape, dtype=np.uint8)
    for value in present:
        if table[value]:
            result[mask == value] = table[value]
    return result


def check_sides(mask: np.ndarray) -> None:
    """Refuse a mask whose right lung lies to the patient's left of its left lung.

    Args:
        mask: (z, y, x) labels along LPS, x to the patient's left.

    Raises:
        ValueError: If the lungs are swapped. A mask with one lung passes: it can lie anywhere.
    """
    columns = np.arange(mask.shape[2])
    right = (mask == RIGHT_LUNG).sum(axis=(0, 1))
    left = (mask == LEFT_LUNG).sum(axis=(0, 1))
    if (
        right.any()
        and left.any()
        and are_swapped(float(np.average(columns, weights=right)), float(np.average(columns, weights=left)))
    ):
        raise ValueError("right_lung lies to the patient's left of left_lung: are the segments swapped?")


def are_swapped(right_x: float, left_x: float) -> bool:
    """Whether the right lung lies to the patient's left of the left lung.

    Args:
        right_x: Mean index of the right lung's voxels along x, which runs to the patient's left.
        left_x: That of the left lung.
    """
    return right_x > left_x
