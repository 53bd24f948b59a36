from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from datastore.image_files import read_mask, write_mask
from datastore.nifti import write_nifti
from datastore.phantom import Phantom
from datastore.records import Kind, NewLabel, Source
from datastore.registry import Registry, UnknownCaseError
from datastore.sources import find_sources
from datastore.submission import RefusedMaskError, submit_mask

SUBMITTED = NewLabel(Kind.SUBMITTED, author="ann", tool="test")


@pytest.fixture
def registry(tmp_path: Path, phantom: Phantom) -> Iterator[Registry]:
    opened = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}", tmp_path / "labels")
    scan = tmp_path / "scan.nii.gz"
    write_nifti(phantom.image, scan)
    (found,) = find_sources(scan)[0]
    assert found.source == Source(scan)
    opened.add_case(found.new_case())
    yield opened
    opened.close()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".seg.nrrd", ".mha"])
def test_a_mask_in_any_format_is_stored_on_the_image_grid(
    registry: Registry, phantom: Phantom, tmp_path: Path, suffix: str
) -> None:
    upload = tmp_path / f"mask{suffix}"
    write_mask(phantom.lungs, upload)
    label = submit_mask(registry, "0001", upload, ["right_lung", "left_lung"], SUBMITTED)
    stored = read_mask(label.path)
    np.testing.assert_array_equal(stored.array, phantom.lungs.array)
    assert stored.geometry == registry.case("0001").geometry


def test_an_empty_mask_is_an_answer_too(registry: Registry, phantom: Phantom, tmp_path: Path) -> None:
    upload = tmp_path / "mask.nii.gz"
    write_mask(phantom.lungs.with_array(np.zeros_like(phantom.lungs.array)), upload)
    assert not read_mask(submit_mask(registry, "0001", upload, None, SUBMITTED).path).array.any()


def test_a_refused_mask_is_kept_word_for_word(registry: Registry, phantom: Phantom, tmp_path: Path) -> None:
    upload = tmp_path / "mask.nii.gz"
    write_mask(phantom.lungs.with_array(phantom.lungs.array * 3), upload)
    with pytest.raises(RefusedMaskError, match="mask of case 0001 refused: label value 3 is unknown") as caught:
        submit_mask(registry, "0001", upload, None, SUBMITTED)
    (kept,) = (registry.labels_folder / "0001" / "refused").iterdir()
    assert kept.name in str(caught.value)
    assert kept.read_bytes() == upload.read_bytes()
    assert registry.labels("0001") == []
    assert list(registry.check()) == []


def test_a_mask_for_no_case_is_refused(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UnknownCaseError):
        submit_mask(registry, "0002", tmp_path / "mask.nii.gz", None, SUBMITTED)
