"""VISCERAL Anatomy3: CT of the trunk or the whole body, each lung a file of its own named by its RadLex id.

Source: Jimenez-del-Toro et al. 2016, IEEE Transactions on Medical Imaging 35(11). Volumes are called
`<patient>_<number>_<modality>_<region>.nii.gz` (`10000100_1_CTce_ThAb.nii.gz`, `10000005_1_CT_wb.nii.gz`),
segmentations the same with `_<RadLex id>_<annotator>` (`10000100_1_CTce_ThAb_1302_7.nii.gz`); they lie in `Volumes`
and `Segmentations`, whose names do not matter here. RadLex RID1302 is the right lung, RID1326 the left. Magnetic
resonance volumes (`MRT1_wb`, `MRT1cefs_Ab`, ...) are passed over.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from pathlib import Path

from datastore.datasets.image_folders import check_is_there, images_below, stem
from datastore.datasets.lung_masks import lungs_of_sides, read_numbers
from datastore.datasets.reference import LUNGS, Found, PartSides, Reference, attempt, dense_areas_left_out
from datastore.records import Source
from datastore.volume import Volume

VOLUME = re.compile(r"(?P<patient>\d+)_\d+_(?P<modality>CT[a-z]*)_(?P<region>[A-Za-z]+)")
SEGMENTATION = re.compile(rf"(?P<volume>{VOLUME.pattern})_(?P<structure>\d+)_(?P<annotator>\d+)")
RIGHT_LUNG_ID, LEFT_LUNG_ID = "1302", "1326"
NOTE = dense_areas_left_out(
    "high-density areas such as tumours or effusions are not consistently in the masks; nearly all of the lungs are "
    "inconspicuous (Hofmanninger et al. 2020, section I)"
)


def find_anatomy3(folder: Path, part_sides: PartSides) -> Found:
    """The CT volumes of Anatomy3 below a folder; see `reference.Dataset.find`."""
    volumes: dict[str, Path] = {}
    lungs: dict[str, dict[str, list[tuple[int, Path]]]] = defaultdict(lambda: defaultdict(list))
    for path in images_below(folder):
        if match := SEGMENTATION.fullmatch(stem(path)):
            lungs[match["volume"]][match["structure"]].append((int(match["annotator"]), path))
        elif VOLUME.fullmatch(stem(path)):
            volumes[stem(path)] = path
    if not volumes:
        raise ValueError(f"{folder}: no Anatomy3 CT volume below it: expected names like 10000100_1_CTce_ThAb.nii.gz")
    for name, path in sorted(volumes.items()):
        yield attempt(name, partial(_reference, name, path, lungs[name]))


def _reference(name: str, path: Path, files: dict[str, list[tuple[int, Path]]]) -> Reference:
    right, left = (_first_annotated(files.get(number, []), number) for number in (RIGHT_LUNG_ID, LEFT_LUNG_ID))
    match = VOLUME.fullmatch(name)
    if match is None:
        raise ValueError(f"expected a name like 10000100_1_CTce_ThAb, got {name}")

    def read_masks(image: Volume) -> dict[str, Volume]:
        sides = [read_numbers(side, image).array > 0 for side in (right, left)]
        try:
            return {LUNGS: lungs_of_sides(sides[0], sides[1], image)}
        except ValueError as error:
            raise ValueError(f"{right}, {left.name}: {error}") from error

    tags = (f"{match['modality']}-{match['region']}".lower(),)
    author = "VISCERAL Anatomy3 reference"
    return Reference(name, match["patient"], Source(path), "anatomy3", tags, read_masks, author, (NOTE,))


def _first_annotated(files: list[tuple[int, Path]], number: str) -> Path:
    """The file of the annotator with the lowest number, where several drew the same lung."""
    if not files:
        side = "right" if number == RIGHT_LUNG_ID else "left"
        raise ValueError(f"no segmentation of the {side} lung (RadLex id {number})")
    return check_is_there(min(files)[1])
