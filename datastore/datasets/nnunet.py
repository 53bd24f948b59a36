"""nnU-Net datasets, version 1 (`Task501_Lungs`) and version 2 (`Dataset501_Lungs`); labels are matched by name.

Source: nnU-Net's `documentation/dataset_format.md` (version 2) and `dataset_conversion.md` (version 1). Both have
`dataset.json`, `imagesTr/<case>_0000<ending>`, `labelsTr/<case><ending>` and optionally `imagesTs`, `labelsTs`.
Version 1 always ends with `.nii.gz` and maps numbers to names, `"labels": {"0": "background", "1": "right lung"}`;
version 2 says `file_ending` and maps names to a number, or to a list of numbers for a region. The Medical Segmentation
Decathlon has version 1's json and images without `_0000`, which are read too. Channel 0 is taken for the CT.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datastore.datasets.image_folders import check_is_there
from datastore.datasets.lung_masks import lungs_of_numbers, lungs_of_whole, present_numbers, read_numbers
from datastore.datasets.reference import (
    LUNGS,
    TUMOUR,
    Found,
    Missing,
    PartSides,
    Reference,
    attempt,
    dense_areas_left_out,
    no_masks,
)
from datastore.datasets.structure_names import Role, role_of
from datastore.labels import LEFT_LUNG, RIGHT_LUNG
from datastore.records import Source
from datastore.volume import Volume

SIDES = {Role.RIGHT_LUNG: RIGHT_LUNG, Role.LEFT_LUNG: LEFT_LUNG}
TUMOUR_APART = dense_areas_left_out("tumours have a label of their own and are left out of the lungs")


@dataclass(frozen=True)
class Labels:
    """What the numbers in a dataset's label files mean.

    Attributes:
        numbers: The numbers of each role; a region has several, and a number may be in a region and alone.
        known: All numbers that dataset.json names, with 0.
    """

    numbers: dict[Role, frozenset[int]]
    known: frozenset[int]

    @property
    def parts_tumour(self) -> bool:
        """Whether tumour voxels are labelled as tumour instead of lung."""
        lungs = frozenset[int]().union(*(self.numbers.get(role, ()) for role in (*SIDES, Role.LUNGS)))
        return bool(lungs) and not self.numbers.get(Role.TUMOUR, frozenset()) <= lungs

    def masks(self, mask: Volume, image: Volume, part_sides: PartSides) -> dict[str, Volume]:
        """The lungs and the tumour in a label file; see `Reference.read_masks`."""
        for number in present_numbers(mask):
            if number not in self.known:
                raise ValueError(f"label value {number} has no name in dataset.json")
        found: dict[str, Volume] = {}
        if Role.RIGHT_LUNG in self.numbers or Role.LEFT_LUNG in self.numbers:
            table = dict.fromkeys(self.known, 0)
            for role, side in SIDES.items():
                table.update(dict.fromkeys(self.numbers.get(role, ()), side))
            found[LUNGS] = lungs_of_numbers(mask, table)
        elif Role.LUNGS in self.numbers:
            found[LUNGS] = lungs_of_whole(np.isin(mask.array, list(self.numbers[Role.LUNGS])), image, part_sides)
        if Role.TUMOUR in self.numbers:
            tumour = np.isin(mask.array, list(self.numbers[Role.TUMOUR]))
            found[TUMOUR] = mask.with_array(tumour.astype(np.uint8))
        return found


@dataclass(frozen=True)
class Description:
    """What `dataset.json` says.

    Attributes:
        labels: The meaning of the labels.
        ending: What file names end with, e.g. `.nii.gz`.
    """

    labels: Labels
    ending: str


def find_nnunet(folder: Path, part_sides: PartSides) -> Found:
    """The cases of one nnU-Net dataset, or of all below a folder; see `reference.Dataset.find`."""
    if (folder / "dataset.json").is_file():
        datasets = [folder]
    else:
        datasets = sorted(path.parent for path in folder.glob("*/dataset.json"))
    if not datasets:
        raise ValueError(f"{folder}: no nnU-Net dataset: expected dataset.json in it or in a folder of it")
    for dataset in datasets:
        try:
            description = read_description(dataset / "dataset.json")
        except ValueError as error:
            if len(datasets) == 1:
                raise
            yield Missing(dataset.name, str(error))
            continue
        for images, labels, tag in (("imagesTr", "labelsTr", "training"), ("imagesTs", "labelsTs", "test")):
            for case, image in _cases(dataset / images, description.ending):
                label = dataset / labels / f"{case}{description.ending}"
                name = case if len(datasets) == 1 else f"{dataset.name}/{case}"
                is_optional = tag == "test" and not label.exists()
                tags = (dataset.name.lower().replace("_", "-"), tag)
                file = None if is_optional else label
                yield attempt(name, partial(_reference, name, image, file, tags, description.labels, part_sides))


def read_description(path: Path) -> Description:
    """What a `dataset.json` says of either version.

    Raises:
        ValueError: If it is damaged, has no labels, or a label's name cannot be told to be a lung, a tumour or
            outside the lungs; the message names the file and the label.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        if not isinstance(content, dict) or not isinstance(content.get("labels"), dict):
            raise ValueError("expected an object with labels")
        if "dataset" in content:
            raise ValueError("lists its files under `dataset`, expected them in imagesTr and labelsTr")
        return Description(_labels(content["labels"]), str(content.get("file_ending", ".nii.gz")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _labels(labels: dict[str, Any]) -> Labels:
    numbers: dict[Role, frozenset[int]] = {}
    known = {0}
    for key, value in labels.items():
        is_first_version = isinstance(value, str)
        name, values = (value, [int(key)]) if is_first_version else (key, value if isinstance(value, list) else [value])
        role = role_of(name)
        if role is None:
            raise ValueError(f"label {name!r} ({values}) is unknown: expected a lung, a lobe, a tumour or background")
        numbers[role] = numbers.get(role, frozenset()) | frozenset(int(number) for number in values)
        known |= {int(number) for number in values}
    both = numbers.get(Role.RIGHT_LUNG, frozenset()) & numbers.get(Role.LEFT_LUNG, frozenset())
    if both:
        raise ValueError(f"label values {sorted(both)} are in both lungs")
    if not numbers.keys() & {Role.RIGHT_LUNG, Role.LEFT_LUNG, Role.LUNGS, Role.TUMOUR}:
        raise ValueError(f"no label is a lung or a tumour: {', '.join(map(str, labels))}")
    return Labels(numbers, frozenset(known))


def _cases(folder: Path, ending: str) -> Iterator[tuple[str, Path]]:
    """Case and image of channel 0 in a folder; sorted."""
    for path in sorted(folder.glob(f"*{ending}")):
        case, _, channel = path.name[: -len(ending)].rpartition("_")
        if channel == "0000":
            yield case, path
        elif not (channel.isdigit() and len(channel) == 4) and not path.name.startswith("."):
            yield path.name[: -len(ending)], path


def _reference(
    name: str, image: Path, label: Path | None, tags: tuple[str, ...], labels: Labels, part_sides: PartSides
) -> Reference:
    if label is None:
        return Reference(name, "", Source(image), "nnunet", tags, no_masks, "")
    file = check_is_there(label)

    def read_masks(image: Volume) -> dict[str, Volume]:
        try:
            return labels.masks(read_numbers(file, image), image, part_sides)
        except ValueError as error:
            raise error if str(file) in str(error) else ValueError(f"{file}: {error}") from error

    notes = (TUMOUR_APART,) if labels.parts_tumour else ()
    return Reference(name, "", Source(image), "nnunet", tags, read_masks, "nnU-Net labels", notes)
