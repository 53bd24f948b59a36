"""Folders of images with their lung masks, as lungmask and many published sets have them.

Three conventions, which may be mixed below one folder; case does not matter, and the two files of a pair may differ in
format:

1. Two folders beside each other, one called as in `IMAGE_WORDS`, one as in `MASK_WORDS`, singular or plural:
   `images/a.nii.gz` and `masks/a.nii.gz`.
2. The mask beside its image: `a.nii.gz` and `a_mask.nii.gz` (`a-label.nrrd`, `a.seg.nrrd`, ...).
3. A folder for each case: `a/ct.nii.gz` and `a/mask.nii.gz`.

In all three the image may end with an image word or nnU-Net's `_0000` and the mask with a mask word: `images/a_ct.mhd`
and `masks/a_lungmask.nii.gz`. Masks are numbered as in R231 and lungmask, 1 right lung and 2 left lung; a mask with one
number that is not 2 (1 or 255) is taken for both lungs in one, which are parted on import.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from datastore.datasets.image_folders import check_is_there, images_below, stem
from datastore.datasets.lung_masks import checked_lungs, lungs_of_whole, present_numbers, read_numbers
from datastore.datasets.reference import LUNGS, Found, Missing, PartSides, Reference, attempt
from datastore.labels import LEFT_LUNG, renumber
from datastore.records import Source
from datastore.volume import Volume

IMAGE_WORDS = ("image", "imaging", "img", "ct", "cts", "scan", "volume", "vol", "input", "0000")
MASK_WORDS = ("mask", "label", "segmentation", "seg", "lung", "lungmask", "lung_mask", "groundtruth", "gt", "output")
_IMAGE, _MASK = (f"(?:{'|'.join(words)})s?" for words in (IMAGE_WORDS, MASK_WORDS))
_IMAGE_NAME = re.compile(rf"(?P<case>.*?)(?:(?:^|[-_.]){_IMAGE})?", re.IGNORECASE)
_MASK_NAME = re.compile(rf"(?P<case>.*?)(?:^|[-_.]){_MASK}", re.IGNORECASE)
_IMAGE_FOLDER = re.compile(_IMAGE, re.IGNORECASE)
_MASK_FOLDER = re.compile(_MASK, re.IGNORECASE)


def find_pairs(folder: Path, part_sides: PartSides) -> Found:
    """The pairs of image and mask below a folder; see `reference.Dataset.find`."""
    images: dict[str, list[Path]] = {}
    masks: dict[str, list[Path]] = {}
    for path in images_below(folder):
        is_mask, name = _place(path, folder)
        (masks if is_mask else images).setdefault(name, []).append(path)
    if not images or not masks:
        raise ValueError(f"{folder}: no pairs of image and mask below it: expected images/a.nii.gz and masks/a.nii.gz")
    for name in sorted(images):
        yield attempt(name, partial(_reference, name, images[name], masks.get(name, []), part_sides))
    for name in sorted(masks.keys() - images.keys()):
        yield Missing(name, f"mask {masks[name][0].name} without an image")


def _place(path: Path, folder: Path) -> tuple[bool, str]:
    """Whether a file is a mask, and the name of its pair: folders without those that only say image or mask."""
    parents = path.relative_to(folder).parts[:-1]
    in_masks = any(_MASK_FOLDER.fullmatch(part) for part in parents)
    in_images = any(_IMAGE_FOLDER.fullmatch(part) for part in parents)
    kept = [part for part in parents if not (_MASK_FOLDER.fullmatch(part) or _IMAGE_FOLDER.fullmatch(part))]
    name = stem(path)
    mask_name = _MASK_NAME.fullmatch(name)
    if mask_name is None and path.name.lower().endswith(".seg.nrrd"):
        return True, "/".join([*kept, name])
    is_mask = in_masks or (mask_name is not None and not in_images)
    match = mask_name or _IMAGE_NAME.fullmatch(name)  # in images/ and masks/ both may be called `a_lung`
    case = match["case"] if match else name
    return is_mask, "/".join([*kept, *([case] if case else [])]) or name


def _reference(name: str, images: list[Path], masks: list[Path], part_sides: PartSides) -> Reference:
    for kind, paths in (("image", images), ("mask", masks)):
        if len(paths) != 1:
            listed = ": " + ", ".join(path.name for path in paths) if paths else ""
            raise ValueError(f"expected one {kind}, got {len(paths)}{listed}")
    file = check_is_there(masks[0])

    def read_masks(image: Volume) -> dict[str, Volume]:
        mask = read_numbers(file, image)
        numbers = present_numbers(mask)
        try:
            if len(numbers) == 1 and numbers[0] != LEFT_LUNG:
                return {LUNGS: lungs_of_whole(mask.array > 0, image, part_sides)}
            return {LUNGS: checked_lungs(mask.with_array(renumber(mask.array, None)))}
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error

    return Reference(name, "", Source(images[0]), "pairs", (), read_masks, "mask file")
