"""LOLA11, LObe and Lung Analysis 2011: 55 scans of 55 subjects whose reference only the organisers have.

Source: https://lola11.grand-challenge.org. Scans are called `lola11-01` to `lola11-55`, as `.mhd` with `.raw` or as
`.mha`. Segmentations are handed in under the same names, so a folder whose name says result, mask or segmentation is
passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from datastore.datasets.image_folders import images_below, stem
from datastore.datasets.reference import Found, PartSides, Reference, no_masks
from datastore.records import Source

SCAN = re.compile(r"lola11-\d{2}", re.IGNORECASE)
NO_SCANS = re.compile(r"result|mask|seg|submission|label|dense", re.IGNORECASE)
NAMES = tuple(f"lola11-{number:02d}" for number in range(1, 56))
SUBMITTED_VALUES = {  # of a structure in a segmentation that is handed in, https://lola11.grand-challenge.org/Details
    "left_lung": 10,
    "left_upper_lobe": 10,
    "left_lower_lobe": 11,
    "right_lung": 20,
    "right_upper_lobe": 20,
    "right_middle_lobe": 21,
    "right_lower_lobe": 22,
}


def find_lola11(folder: Path, part_sides: PartSides) -> Found:
    """The scans of LOLA11 below a folder; see `reference.Dataset.find`."""
    scans = {name: paths[-1] for name, paths in files_by_name(folder, _is_scan).items()}
    if not scans:
        raise ValueError(f"{folder}: no LOLA11 scan below it: expected names like lola11-01.mhd")
    for name, path in sorted(scans.items()):
        yield Reference(name, name, Source(path), "lola11", (), no_masks, "")


def lola11_scans(folder: Path) -> dict[str, list[Path]]:
    """The files below a folder that are scans, by their name in lower case."""
    return files_by_name(folder, _is_scan)


def files_by_name(folder: Path, taken: Callable[[Path], bool] = lambda _: True) -> dict[str, list[Path]]:
    """The image files below a folder that are called as LOLA11 calls its scans.

    Args:
        folder: Where to look.
        taken: Whether a file counts, by its path below the folder.

    Returns:
        Paths by name, in lower case; several where a name is there several times.
    """
    found: dict[str, list[Path]] = {}
    for path in images_below(folder):
        if SCAN.fullmatch(stem(path)) and taken(path.relative_to(folder)):
            found.setdefault(stem(path).lower(), []).append(path)
    return found


def _is_scan(path: Path) -> bool:
    """Whether a file below a folder is a scan, by the folders that it lies in."""
    return not any(NO_SCANS.search(part) for part in path.parts[:-1])
