from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tcia_files import dice, found, masks

from datastore.datasets import Missing, Reference
from datastore.image_files import write_mask
from datastore.nifti import write_nifti
from datastore.phantom import Phantom, chest_phantom
from datastore.volume import Volume

SECOND = {"channel_names": {"0": "CT"}, "numTraining": 1, "file_ending": ".nii.gz"}
FIRST = {"name": "Lungs", "tensorImageSize": "4D", "modality": {"0": "CT"}, "numTraining": 1, "numTest": 0}


@pytest.fixture(scope="module")
def ill() -> Phantom:
    return chest_phantom(seed=2, shape=(60, 96, 96), spacing_mm=(5.0, 4.0, 4.0), lesion=True)


def write(volume: Volume, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".mha", ".nrrd"):
        write_mask(volume, path)
    else:
        write_nifti(volume, path, compression=1)


def write_dataset(
    folder: Path, image: Volume, mask: Volume, description: dict[str, Any], channel: str = "_0000"
) -> None:
    ending = description.get("file_ending", ".nii.gz")
    write(image, folder / "imagesTr" / f"lung_001{channel}{ending}")
    write(mask, folder / "labelsTr" / f"lung_001{ending}")
    (folder / "dataset.json").write_text(json.dumps(description))


def second(labels: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**SECOND, "labels": labels, **more}


@pytest.mark.parametrize(
    "description",
    [
        second({"background": 0, "left lung": 3, "right_lung": 7}),
        second({"background": 0, "Lung_R": 7, "Lung_L": 3, "heart": 4}, file_ending=".mha"),
        {**FIRST, "labels": {"0": "background", "3": "lung_left", "7": "lung_right"}},
    ],
)
def test_labels_are_matched_by_name_in_both_versions(
    tmp_path: Path, phantom: Phantom, description: dict[str, Any]
) -> None:
    numbered = np.array([0, 7, 3], np.uint8)[phantom.lungs.array]
    folder = tmp_path / "Dataset501_Lungs"
    write_dataset(folder, phantom.image, phantom.lungs.with_array(numbered), description)
    item = found("nnunet", folder)["lung_001"]
    np.testing.assert_array_equal(masks(item)["lungs"].array, phantom.lungs.array)
    assert isinstance(item, Reference)
    assert (item.cohort, item.tags, item.patient) == ("nnunet", ("dataset501-lungs", "training"), "")


def test_the_decathlons_images_without_a_channel_are_read(tmp_path: Path, ill: Phantom) -> None:
    assert ill.lesion is not None
    folder = tmp_path / "Task06_Lung"
    write_dataset(folder, ill.image, ill.lesion, {**FIRST, "labels": {"0": "background", "1": "cancer"}}, channel="")
    result = masks(found("nnunet", folder)["lung_001"])
    assert list(result) == ["tumour"]
    np.testing.assert_array_equal(result["tumour"].array, ill.lesion.array)


def test_regions_hold_several_numbers(tmp_path: Path, ill: Phantom) -> None:
    assert ill.lesion is not None
    numbered = np.where(ill.lesion.array == 1, 3, ill.lungs.array).astype(np.uint8)
    whole = second({"background": 0, "lungs": [1, 2, 3], "tumour": 3}, regions_class_order=[1, 3])
    write_dataset(tmp_path / "Dataset001_A", ill.image, ill.lungs.with_array(numbered), whole)
    apart = second({"background": 0, "right_lung": 1, "left_lung": 2, "tumour": 3})
    write_dataset(tmp_path / "Dataset002_B", ill.image, ill.lungs.with_array(numbered), apart)
    items = found("nnunet", tmp_path)
    first, last = items["Dataset001_A/lung_001"], items["Dataset002_B/lung_001"]
    np.testing.assert_array_equal(masks(first)["lungs"].array > 0, numbered > 0)
    assert min(dice(masks(first)["lungs"].array == side, ill.lungs.array == side) for side in (1, 2)) > 0.99
    np.testing.assert_array_equal(masks(last)["lungs"].array, np.where(numbered == 3, 0, numbered))
    for item in (first, last):
        np.testing.assert_array_equal(masks(item)["tumour"].array, ill.lesion.array)
    assert isinstance(first, Reference) and isinstance(last, Reference)
    assert first.notes == () and [note.code for note in last.notes] == ["dense_areas_left_out"]


def test_test_images_have_masks_only_where_labels_are_given(tmp_path: Path, phantom: Phantom) -> None:
    description = second({"background": 0, "right_lung": 1, "left_lung": 2})
    write_dataset(tmp_path, phantom.image, phantom.lungs, description)
    for case in ("lung_002", "lung_003"):
        write(phantom.image, tmp_path / "imagesTs" / f"{case}_0000.nii.gz")
    write(phantom.lungs, tmp_path / "labelsTs" / "lung_003.nii.gz")
    items = found("nnunet", tmp_path)
    assert list(items) == ["lung_001", "lung_002", "lung_003"]
    assert masks(items["lung_002"]) == {}
    assert masks(items["lung_003"])["lungs"].array.any()
    assert items["lung_002"].tags[1] == "test"  # type: ignore[union-attr]


def test_a_training_image_without_a_label_is_missing_and_other_channels_are_no_cases(
    tmp_path: Path, phantom: Phantom
) -> None:
    description = second({"background": 0, "right_lung": 1, "left_lung": 2})
    write_dataset(tmp_path, phantom.image, phantom.lungs, description)
    write(phantom.image, tmp_path / "imagesTr" / "lung_001_0001.nii.gz")
    write(phantom.image, tmp_path / "imagesTr" / "lung_000_0000.nii.gz")
    items = found("nnunet", tmp_path)
    assert list(items) == ["lung_000", "lung_001"]
    assert items["lung_000"] == Missing("lung_000", "lung_000.nii.gz: no such file")


def test_a_number_without_a_name_is_refused(tmp_path: Path, phantom: Phantom) -> None:
    description = second({"background": 0, "right_lung": 1})
    write_dataset(tmp_path, phantom.image, phantom.lungs, description)
    with pytest.raises(ValueError, match=r"lung_001\.nii\.gz: label value 2 has no name in dataset\.json"):
        masks(found("nnunet", tmp_path)["lung_001"])


def test_names_on_the_wrong_side_are_refused(tmp_path: Path, phantom: Phantom) -> None:
    write_dataset(tmp_path, phantom.image, phantom.lungs, second({"background": 0, "left_lung": 1, "right_lung": 2}))
    with pytest.raises(ValueError, match="right_lung lies to the patient's left"):
        masks(found("nnunet", tmp_path)["lung_001"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"labels": {"background": 0, "infection": 1}}, r"label 'infection' \(\[1\]\) is unknown"),
        ({"labels": {"background": 0, "right_lung": 1, "ignore": 2}}, "label 'ignore'"),
        ({"labels": {"background": 0, "heart": 1}}, "no label is a lung or a tumour"),
        ({"labels": {"right_lung": [1, 2], "left_lung": [2, 3]}}, r"label values \[2\] are in both lungs"),
        ({"labels": ["lung"]}, "expected an object with labels"),
        ({"labels": {"lungs": 1}, "dataset": {}}, "lists its files under `dataset`"),
        ({"labels": {"lungs": None}}, "dataset.json"),
    ],
)
def test_a_dataset_whose_labels_cannot_be_told_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"dataset\.json: .*{reason}|{reason}: "):
        found("nnunet", tmp_path)


def test_a_torn_description_does_not_stop_the_other_datasets(tmp_path: Path, phantom: Phantom) -> None:
    write_dataset(
        tmp_path / "Task502_B",
        phantom.image,
        phantom.lungs,
        {**FIRST, "labels": {"0": "background", "1": "lung r", "2": "lung l"}},
    )
    (tmp_path / "Task501_A").mkdir()
    (tmp_path / "Task501_A" / "dataset.json").write_text("{")
    items = found("nnunet", tmp_path)
    assert isinstance(items["Task501_A"], Missing)
    assert masks(items["Task502_B/lung_001"])["lungs"].array.any()
