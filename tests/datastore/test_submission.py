from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
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


def test_a_mask_that_cannot_be_stored_is_kept(
    registry: Registry, phantom: Phantom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = tmp_path / "mask.nii.gz"
    write_mask(phantom.lungs, upload)
    monkeypatch.setattr("datastore.registry.labels.write_mask", full_disk)
    with pytest.raises(OSError, match="No space left"):
        submit_mask(registry, "0001", upload, None, SUBMITTED)
    (kept,) = (registry.labels_folder / "0001" / "refused").iterdir()
    assert kept.read_bytes() == upload.read_bytes()


def full_disk(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_mask_for_no_case_is_refused(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UnknownCaseError):
        submit_mask(registry, "0002", tmp_path / "mask.nii.gz", None, SUBMITTED)


@pytest.mark.parametrize("name", ["mask.seg.nrrd", "mask.mhd", "mask.nhdr", "mask.nii", "mask.xyz"])
@pytest.mark.parametrize("content", [b"", b"NRRD0004\n", b"\x5c\x01\x00\x00" + b"\xff" * 600])
def test_whatever_an_upload_holds_it_is_kept_and_refused_in_one_line(
    registry: Registry, tmp_path: Path, name: str, content: bytes
) -> None:
    upload = tmp_path / name
    upload.write_bytes(content)
    with pytest.raises(RefusedMaskError) as caught:
        submit_mask(registry, "0001", upload, None, SUBMITTED)
    assert str(tmp_path) not in str(caught.value)
    assert "\n" not in str(caught.value)
    (kept,) = (registry.labels_folder / "0001" / "refused").iterdir()
    assert kept.read_bytes() == content


def test_a_huge_grid_is_refused_before_its_voxels_are_read(registry: Registry, tmp_path: Path) -> None:
    upload = tmp_path / "mask.nii.gz"
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    upload.write_bytes(gzip.compress(header.binaryblock + bytes(4)))
    with pytest.raises(RefusedMaskError, match=r"mask grid \(30000, 30000, 30000\) does not match image"):
        submit_mask(registry, "0001", upload, None, SUBMITTED)
