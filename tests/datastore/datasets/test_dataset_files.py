"""The data sets that come as image files: Anatomy3, LTRC, VESSEL12, LOLA11."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tcia_files import dice, found, masks

from datastore.datasets import DATASETS, Missing, Reference, references
from datastore.datasets.ltrc import lungs_of_lobes
from datastore.image_files import write_mask
from datastore.nifti import write_nifti
from datastore.phantom import Phantom
from datastore.volume import Volume

CASE = "10000100_1_CTce_ThAb"


def write_mhd(volume: Volume, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(volume.geometry.spacing_mm)
    image.SetOrigin(volume.geometry.origin_mm)
    image.SetDirection(volume.geometry.direction)
    sitk.WriteImage(image, str(path))
    assert path.suffix != ".mhd" or path.with_suffix(".raw").exists()


def write_image(volume: Volume, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(volume, path, compression=1)


def side(phantom: Phantom, value: int) -> Volume:
    return phantom.lungs.with_array((phantom.lungs.array == value).astype(np.uint8))


def write_anatomy3(folder: Path, phantom: Phantom, case: str = CASE, right: int = 1) -> None:
    write_image(phantom.image, folder / "Volumes" / f"{case}.nii.gz")
    write_image(side(phantom, right), folder / "Segmentations" / f"{case}_1302_7.nii.gz")
    write_image(side(phantom, 3 - right), folder / "Segmentations" / f"{case}_1326_8.nii.gz")
    write_image(side(phantom, 2), folder / "Segmentations" / f"{case}_58_6.nii.gz")  # the liver


def test_every_data_set_has_a_sentence_and_a_citation() -> None:
    assert list(DATASETS) == ["anatomy3", "ltrc", "lctsc", "vessel12", "lung1", "lola11", "pairs", "nnunet"]
    for dataset in DATASETS.values():
        assert dataset.description.endswith(".") and dataset.citation


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_folder_with_nothing_of_a_data_set_is_refused(tmp_path: Path, dataset: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        found(dataset, tmp_path)


def test_an_unknown_data_set_and_an_absent_folder_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown data set 'lidc': expected one of anatomy3, ltrc"):
        references("lidc", tmp_path, lambda image, whole: whole)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        references("ltrc", tmp_path / "nowhere", lambda image, whole: whole)


def test_anatomy3_joins_the_two_lungs_and_passes_over_what_is_no_ct(tmp_path: Path, phantom: Phantom) -> None:
    write_anatomy3(tmp_path, phantom)
    write_image(phantom.image, tmp_path / "Volumes" / "10000324_2_MRT1cefs_Ab.nii.gz")
    items = found("anatomy3", tmp_path)
    assert list(items) == [CASE]
    item = items[CASE]
    np.testing.assert_array_equal(masks(item)["lungs"].array, phantom.lungs.array)
    assert isinstance(item, Reference)
    assert (item.patient, item.tags) == ("10000100", ("ctce-thab",))
    assert [note.code for note in item.notes] == ["dense_areas_left_out"]


def test_anatomy3_says_which_lung_is_missing_empty_or_swapped(tmp_path: Path, phantom: Phantom) -> None:
    write_anatomy3(tmp_path, phantom)
    write_anatomy3(tmp_path, phantom, "10000005_1_CT_wb", right=2)
    write_image(phantom.image, tmp_path / "Volumes" / "10000006_1_CT_wb.nii.gz")
    write_image(phantom.image, tmp_path / "Volumes" / "10000007_1_CT_wb.nii.gz")
    for number in ("1302", "1326"):
        (tmp_path / "Segmentations" / f"10000007_1_CT_wb_{number}_7.nii.gz").touch()
    items = found("anatomy3", tmp_path)
    assert items["10000006_1_CT_wb"] == Missing(
        "10000006_1_CT_wb", "no segmentation of the right lung (RadLex id 1302)"
    )
    assert items["10000007_1_CT_wb"] == Missing(
        "10000007_1_CT_wb", "10000007_1_CT_wb_1302_7.nii.gz: empty file (0 bytes)"
    )
    with pytest.raises(ValueError, match=r"10000005_1_CT_wb_1302_7\.nii\.gz.*right_lung lies to the patient's left"):
        masks(items["10000005_1_CT_wb"])
    assert masks(items[CASE])["lungs"].array.any()


def test_a_mask_on_another_grid_is_refused_by_name(tmp_path: Path, phantom: Phantom) -> None:
    write_anatomy3(tmp_path, phantom)
    shifted = side(phantom, 1)
    geometry = type(shifted.geometry)(shifted.geometry.spacing_mm, (0.0, 0.0, 0.0))
    write_image(Volume(shifted.array, geometry), tmp_path / "Segmentations" / f"{CASE}_1302_7.nii.gz")
    with pytest.raises(ValueError, match=r"_1302_7\.nii\.gz: mask grid does not match image"):
        masks(found("anatomy3", tmp_path)[CASE])


def test_vessel12_masks_are_parted(tmp_path: Path, phantom: Phantom) -> None:
    whole = phantom.lungs.with_array((phantom.lungs.array > 0).astype(np.uint8))
    write_mhd(phantom.image, tmp_path / "VESSEL12_01-05" / "VESSEL12_01.mhd")
    write_mhd(whole, tmp_path / "VESSEL12_01-20_Lungmasks" / "VESSEL12_01.mhd")
    write_mhd(phantom.image, tmp_path / "ExampleScans" / "Scans" / "VESSEL12_21.mhd")
    write_mhd(whole, tmp_path / "ExampleScans" / "Lungmasks" / "VESSEL12_21.mhd")
    write_mhd(phantom.image, tmp_path / "VESSEL12_01-05" / "VESSEL12_02.mhd")
    items = found("vessel12", tmp_path)
    assert items.pop("VESSEL12_02") == Missing(
        "VESSEL12_02", "no lung mask: expected VESSEL12_02.mhd in a folder Lungmasks"
    )
    assert list(items) == ["VESSEL12_01", "VESSEL12_21"]
    for item in items.values():
        result = masks(item)["lungs"].array
        np.testing.assert_array_equal(result > 0, phantom.lungs.array > 0)
        assert min(dice(result == value, phantom.lungs.array == value) for value in (1, 2)) > 0.99
        assert isinstance(item, Reference)
        assert [note.code for note in item.notes] == ["dense_areas_left_out", "as_is", "sides_parted"]


@pytest.mark.parametrize("suffix", [".mhd", ".mha"])
def test_lola11_has_scans_without_masks(tmp_path: Path, phantom: Phantom, suffix: str) -> None:
    write_mhd(phantom.image, tmp_path / "all" / f"lola11-01{suffix}")
    write_mhd(phantom.lungs, tmp_path / "results" / f"lola11-01{suffix}")
    items = found("lola11", tmp_path)
    assert masks(items["lola11-01"]) == {}
    item = items["lola11-01"]
    assert isinstance(item, Reference)
    assert item.source.path == tmp_path / "all" / f"lola11-01{suffix}"
    assert item.patient == "lola11-01"


LOBES = {
    "lungmask": ({1: (3, 4, 5), 2: (1, 2)}),
    "cip": ({1: (4, 5, 6), 2: (7, 8)}),
    "lola11": ({1: (20, 21, 22), 2: (10, 11)}),
    "right middle lobe removed, lungmask": ({1: (3, 5), 2: (1, 2)}),
    "left upper lobe removed, lungmask": ({1: (3, 4, 5), 2: (2,)}),
    "left upper lobe removed, cip": ({1: (4, 5, 6), 2: (8,)}),
    "lungs": ({1: (1,), 2: (2,)}),
}


def as_lobes(lungs: Volume, numbers: dict[int, tuple[int, ...]]) -> Volume:
    """A lung mask whose lungs are cut into slabs with these numbers."""
    result = np.zeros_like(lungs.array)
    for value, lobes in numbers.items():
        heights = np.flatnonzero((lungs.array == value).any(axis=(1, 2)))
        for lobe, slab in zip(lobes, np.array_split(heights, len(lobes)), strict=True):
            result[slab] += (lungs.array[slab] == value).astype(np.uint8) * np.uint8(lobe)
    return lungs.with_array(result)


@pytest.mark.parametrize("numbers", LOBES.values(), ids=LOBES.keys())
def test_lobes_become_lungs_in_any_known_numbering(phantom: Phantom, numbers: dict[int, tuple[int, ...]]) -> None:
    result = lungs_of_lobes(as_lobes(phantom.lungs, numbers))
    np.testing.assert_array_equal(result.array, phantom.lungs.array)


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({1: (1, 2), 2: (3, 4, 5)}, "right_lung lies to the patient's left of left_lung.*as lungmask"),
        ({1: (40,), 2: (50,)}, r"numbers \[40, 50\]: expected those of lungs, lungmask LTRCLobes"),
        ({1: (3, 4), 2: (9,)}, "cannot tell right from left"),
        ({1: (2,), 2: (1,)}, "right_lung lies to the patient's left"),
    ],
)
def test_lobes_in_no_known_numbering_are_refused(
    phantom: Phantom, numbers: dict[int, tuple[int, ...]], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        lungs_of_lobes(as_lobes(phantom.lungs, numbers))


def test_ltrc_finds_the_map_beside_the_ct_or_in_a_folder_of_its_own(tmp_path: Path, phantom: Phantom) -> None:
    lobes = as_lobes(phantom.lungs, LOBES["lungmask"])
    write_image(phantom.image, tmp_path / "102022" / "102022_1_CT.nii.gz")
    write_image(lobes, tmp_path / "102022" / "102022_1_LOBES.nii.gz")
    write_image(phantom.lungs.with_array(phantom.lungs.array * 9), tmp_path / "102022" / "102022_1_LUNG.nii.gz")
    write_image(phantom.image, tmp_path / "102023" / "s_2" / "nifti" / "102023_1_2_CT.nii.gz")
    write_image(phantom.lungs, tmp_path / "102023" / "s_2" / "segmentation" / "102023_1_2_lungs.nii.gz")
    write_image(phantom.image, tmp_path / "102024" / "102024_1_CT.nii.gz")
    items = found("ltrc", tmp_path)
    assert items.pop("102024_1") == Missing(
        "102024_1", "no map of lobes or lungs: expected 102024_1_LOBES or 102024_1_LUNGS"
    )
    assert list(items) == ["102022_1", "102023_1_2"]
    for item in items.values():
        np.testing.assert_array_equal(masks(item)["lungs"].array, phantom.lungs.array)
        assert isinstance(item, Reference) and item.patient == item.name.split("_")[0]


def test_a_torn_map_is_refused_by_name(tmp_path: Path, phantom: Phantom) -> None:
    write_image(phantom.image, tmp_path / "1_CT.nii.gz")
    write_mask(phantom.lungs, tmp_path / "1_LUNGS.nii.gz")
    path = tmp_path / "1_LUNGS.nii.gz"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"1_LUNGS\.nii\.gz"):
        masks(found("ltrc", tmp_path)["1"])
