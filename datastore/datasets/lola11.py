"""LOLA11, LObe and Lung Analysis 2011: 55 scans of 55 subjects whose reference only the organisers have.

Source: https://lola11.grand-challenge.org. Scans are called `lola11-01` to `lola11-55`, as `.mhd` with `.raw` or as
`.mha`. Segmentations are handed in under the same names, so a folder whose name says result, mask or segmentation is
passed over.
"""

from __future__ import annotations

import re
from pathlib import Path

from datastore.datasets.image_folders import images_below, stem
from datastore.datasets.reference import Found, PartSides, Reference, no_masks
from datastore.records import Source

SCAN = re.compile(r"lola11-\d{2}", re.IGNORECASE)
NO_SCANS = re.compile(r"result|mask|seg|submission|label", re.IGNORECASE)


def find_lola11(folder: Path, part_sides: PartSides) -> Found:
    """The scans of LOLA11 below a folder; see `reference.Dataset.find`."""
    scans: dict[str, Path] = {}
    for path in images_below(folder):
        is_scan = not any(NO_SCANS.search(part) for part in path.relative_to(folder).parts[:-1])
        if SCAN.fullmatch(stem(path)) and is_scan:
            scans[stem(path).lower()] = path
    if not scans:
        raise ValueError(f"{folder}: no LOLA11 scan below it: expected names like lola11-01.mhd")
    for name, path in sorted(scans.items()):
        yield Reference(name, name, Source(path), "lola11", (), no_masks, "")
