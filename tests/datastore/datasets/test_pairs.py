from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tcia_files import dice, found, masks

from datastore.datasets import Missing, Reference, references
from datastore.image_files import write_mask
from datastore.nifti import write_nifti
from datastore.phantom import Phantom
from datastore.volume import Volume


def write(image: Volume, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".mha", ".nrrd"):
        write_mask(image, path)
    else:
        write_nifti(image, path, compression=1)
    return path


LAYOUTS = [
    ("images/a.nii.gz", "masks/a.nii.gz", "a"),
    ("Images/a.nii.gz", "Labels/a.mha", "a"),
    ("scans/a_ct.nii.gz", "lungmasks/a_lungmask.nii.gz", "a"),
    ("train/image/a_0000.nii.gz", "train/label/a.nii.gz", "train/a"),
    ("images/a_lung.nii.gz", "masks/a_lung.nii.gz", "a"),
    ("a.nii.gz", "a_mask.nii.gz", "a"),
    ("a.nii.gz", "a_label.nrrd", "a"),
    ("a.nii.gz", "a-Segmentation.nii.gz", "a"),
    ("a_img.nii.gz", "a_seg.nii.gz", "a"),
    ("a/ct.nii.gz", "a/mask.nii.gz", "a"),
    ("a/image.nii.gz", "a/lungs.nii.gz", "a"),
    ("a/imaging.nii.gz", "a/segmentation.nii.gz", "a"),
    ("a.b/c.1.nii.gz", "a.b/c.1.seg.nii.gz", "a.b/c.1"),
]


@pytest.mark.parametrize(("image", "mask", "name"), LAYOUTS)
def test_a_pair_is_found_in_every_convention(
    tmp_path: Path, phantom: Phantom, image: str, mask: str, name: str
) -> None:
    path = write(phantom.image, tmp_path / image)
    write(phantom.lungs, tmp_path / mask)
    items = found("pairs", tmp_path)
    assert list(items) == [name]
    item = items[name]
    assert isinstance(item, Reference), item
    assert item.source.path == path
    np.testing.assert_array_equal(masks(item)["lungs"].array, phantom.lungs.array)


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_with_one_number_is_parted(tmp_path: Path, phantom: Phantom, value: int) -> None:
    write(phantom.image, tmp_path / "a.nii.gz")
    whole = (phantom.lungs.array > 0).astype(np.uint8) * np.uint8(value)
    write(phantom.lungs.with_array(whole), tmp_path / "a_mask.nii.gz")
    result = masks(found("pairs", tmp_path)["a"])["lungs"].array
    assert min(dice(result == side, phantom.lungs.array == side) for side in (1, 2)) > 0.99


def test_a_left_lung_alone_stays_a_left_lung(tmp_path: Path, phantom: Phantom) -> None:
    write(phantom.image, tmp_path / "a.nii.gz")
    left = np.where(phantom.lungs.array == 2, 2, 0).astype(np.uint8)
    write(phantom.lungs.with_array(left), tmp_path / "a_mask.nii.gz")

    def never(image: Volume, whole: Volume) -> Volume:
        raise AssertionError("a mask that names its side is not parted")

    item = next(references("pairs", tmp_path, never))
    np.testing.assert_array_equal(masks(item)["lungs"].array, left)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (lambda lungs: lungs + 2 * (lungs == 2), "label value 4 is unknown"),
        (lambda lungs: np.where(lungs, 3 - lungs, 0).astype(np.uint8), "right_lung lies to the patient's left"),
        (lambda lungs: lungs * 0, "the mask is empty"),
    ],
)
def test_a_mask_in_other_numbers_or_swapped_or_empty_is_refused(
    tmp_path: Path, phantom: Phantom, array: object, reason: str
) -> None:
    write(phantom.image, tmp_path / "a.nii.gz")
    write(phantom.lungs.with_array(array(phantom.lungs.array).astype(np.uint8)), tmp_path / "a_mask.nii.gz")  # type: ignore[operator]
    with pytest.raises(ValueError, match=rf"a_mask\.nii\.gz: {reason}"):
        masks(found("pairs", tmp_path)["a"])


def test_what_has_no_partner_or_two_is_missing(tmp_path: Path, phantom: Phantom) -> None:
    for name in ("images/a.nii.gz", "images/b.nii.gz", "images/c.nii.gz", "masks/c.nii.gz", "masks/c.nrrd"):
        write(phantom.lungs, tmp_path / name)
    write(phantom.lungs, tmp_path / "masks" / "a.nii.gz")
    write(phantom.lungs, tmp_path / "masks" / "d.nii.gz")
    items = found("pairs", tmp_path)
    assert isinstance(items.pop("a"), Reference)
    assert list(items.values()) == [
        Missing("b", "expected one mask, got 0"),
        Missing("c", "expected one mask, got 2: c.nii.gz, c.nrrd"),
        Missing("d", "mask d.nii.gz without an image"),
    ]
