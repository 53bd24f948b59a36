"""LTRC, the Lung Tissue Research Consortium: CT of fibrosis and COPD with maps of lungs and lobes.

Source: https://ltrcpublic.com, now held by BioLINCC. The data are given on request and their layout is described
nowhere in public; what is read here is a CT file `<name>_CT.nii.gz` (or `<name>.nii.gz`) with
`<name>_LOBES.nii.gz` or `<name>_LUNGS.nii.gz` (singular too, in any case and format) beside it, or the CT in a folder
`nifti` and the map in a folder `segmentation` next to that. The lobe map wins where there are both.

Nor are the lobes' numbers published. `NUMBERINGS` holds those that are in public use; a map is read by the one that
knows all its numbers, has both lungs and puts the right one to the patient's right. If none or more than one with a
different result does, the map is refused.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from datastore.datasets.image_folders import check_is_there, images_below, stem
from datastore.datasets.lung_masks import lungs_of_numbers, present_numbers, read_numbers
from datastore.datasets.reference import LUNGS, Found, PartSides, Reference, attempt, dense_areas_left_out
from datastore.labels import LEFT_LUNG, RIGHT_LUNG
from datastore.records import Source
from datastore.volume import Volume

R, L = RIGHT_LUNG, LEFT_LUNG
NUMBERINGS: dict[str, dict[int, int]] = {
    "lungs": {1: R, 2: L},  # as R231
    "lungmask LTRCLobes": {1: L, 2: L, 3: R, 4: R, 5: R},  # left upper, lower; right upper, middle, lower
    "Chest Imaging Platform": {2: R, 3: L, 4: R, 5: R, 6: R, 7: L, 8: L},  # cipChestConventions.h
    "LOLA11": {10: L, 11: L, 20: R, 21: R, 22: R},  # left upper, lower; right upper, middle, lower
}
MAP = re.compile(r"(?P<scan>.+)_(?P<kind>lobe|lung)s?", re.IGNORECASE)
CT = re.compile(r"(?P<scan>.+)_ct", re.IGNORECASE)
NOTE = dense_areas_left_out(
    "high-density areas such as tumours or effusions are not consistently in the masks, which come from automated "
    "algorithms with an uncertain degree of correction (Hofmanninger et al. 2020, section I and figure 2)"
)


def find_ltrc(folder: Path, part_sides: PartSides) -> Found:
    """The scans of LTRC below a folder; see `reference.Dataset.find`."""
    scans: dict[tuple[Path, str], Path] = {}
    maps: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in images_below(folder):
        place = path.parent.parent if path.parent.name.lower() in ("nifti", "segmentation") else path.parent
        if match := MAP.fullmatch(stem(path)):
            maps.setdefault((place, match["scan"]), {})[match["kind"].lower()] = path
        else:
            named = CT.fullmatch(stem(path))
            scans[place, named["scan"] if named else stem(path)] = path
    if not scans:
        raise ValueError(f"{folder}: no CT below it: expected names like <name>_CT.nii.gz")
    for (place, scan), path in sorted(scans.items()):
        yield attempt(scan, partial(_reference, scan, path, maps.get((place, scan), {})))


def _reference(scan: str, path: Path, files: dict[str, Path]) -> Reference:
    file = files.get("lobe") or files.get("lung")
    if file is None:
        raise ValueError(f"no map of lobes or lungs: expected {scan}_LOBES or {scan}_LUNGS")
    check_is_there(file)

    def read_masks(image: Volume) -> dict[str, Volume]:
        try:
            return {LUNGS: lungs_of_lobes(read_numbers(file, image))}
        except ValueError as error:
            raise error if str(file) in str(error) else ValueError(f"{file}: {error}") from error

    patient = scan.split("_")[0]
    return Reference(scan, patient, Source(path), "ltrc", (), read_masks, "LTRC reference", (NOTE,))


def lungs_of_lobes(lobes: Volume) -> Volume:
    """Lungs from a map of lobes or lungs in any of `NUMBERINGS`.

    Args:
        lobes: (z, y, x) uint8 in the map's own numbering.

    Returns:
        (z, y, x) uint8: 0 background, 1 right lung, 2 left lung.

    Raises:
        ValueError: If its numbers fit no numbering, or several that do not agree.
    """
    numbers = present_numbers(lobes)
    readings: dict[str, Volume] = {}
    problems = []
    for name, sides in NUMBERINGS.items():
        if {sides.get(number) for number in numbers} != {R, L}:
            continue
        try:
            readings[name] = lungs_of_numbers(lobes, sides)
        except ValueError as error:
            problems.append(f"{error} (as {name})")
    found = list(readings.values())
    if not found:
        reason = "; ".join(problems) or f"expected those of {', '.join(NUMBERINGS)}"
        raise ValueError(f"cannot tell right from left in a map with the numbers {numbers}: {reason}")
    if any(not np.array_equal(found[0].array, other.array) for other in found[1:]):
        raise ValueError(f"the numbers {numbers} mean different lungs as {' and as '.join(readings)}")
    return found[0]
