"""VESSEL12, VESsel SEgmentation in the Lung 2012: scans with a lung mask that does not tell right from left.

Source: Rudyanto et al. 2014, Medical Image Analysis 18(7); https://vessel12.grand-challenge.org, Zenodo 8055066. Scans
`VESSEL12_01.mhd` to `VESSEL12_20.mhd` (archives `VESSEL12_01-05` and so on), masks under the same names in
`VESSEL12_01-20_Lungmasks`; three example scans 21 to 23 in `ExampleScans/Scans` and `ExampleScans/Lungmasks`.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from datastore.datasets.image_folders import check_is_there, images_below, stem
from datastore.datasets.lung_masks import lungs_of_whole, read_numbers
from datastore.datasets.reference import LUNGS, Found, PartSides, Reference, attempt, dense_areas_left_out
from datastore.records import QualityFinding, Severity, Source
from datastore.volume import Volume

SCAN = re.compile(r"VESSEL12_\d{2}", re.IGNORECASE)
NOTES = (
    dense_areas_left_out(
        "high-density areas such as tumours or effusions are not consistently in the masks "
        "(Hofmanninger et al. 2020, section I)"
    ),
    QualityFinding("as_is", Severity.NOTE, "the challenge gives its lung masks as they are, without any guarantee"),
    QualityFinding("sides_parted", Severity.NOTE, "published as one mask; right and left were parted on import"),
)


def find_vessel12(folder: Path, part_sides: PartSides) -> Found:
    """The scans of VESSEL12 below a folder; see `reference.Dataset.find`."""
    scans: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for path in images_below(folder):
        if SCAN.fullmatch(stem(path)):
            is_mask = any("lungmask" in part.lower() for part in path.relative_to(folder.parent).parts[:-1])
            (masks if is_mask else scans)[stem(path)] = path
    if not scans:
        raise ValueError(f"{folder}: no VESSEL12 scan below it: expected names like VESSEL12_01.mhd")
    for name, path in sorted(scans.items()):
        yield attempt(name, partial(_reference, name, path, masks.get(name), part_sides))


def _reference(name: str, path: Path, file: Path | None, part_sides: PartSides) -> Reference:
    if file is None:
        raise ValueError(f"no lung mask: expected {path.name} in a folder Lungmasks")
    check_is_there(file)

    def read_masks(image: Volume) -> dict[str, Volume]:
        whole = read_numbers(file, image).array > 0
        try:
            return {LUNGS: lungs_of_whole(whole, image, part_sides)}
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error

    return Reference(name, "", Source(path), "vessel12", (), read_masks, "VESSEL12 reference", NOTES)
