"""Image files are known from their headers and first slices; a look at the rest shows what is not read."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from datastore import ct_files
from datastore.ct_files import ct_grid
from datastore.fingerprint import fingerprint
from datastore.hounsfield import NotHounsfieldError
from datastore.image_files import read_ct
from datastore.sources import find_sources

FORMATS = [".nii.gz", ".nii", ".nrrd", "-raw.nrrd", ".nhdr", ".mha", "-raw.mha", ".mhd"]


def large(dtype: type = np.int16) -> np.ndarray:
    """More voxels than are looked at."""
    return np.random.default_rng(0).integers(-1000, 1000, (40, 200, 210)).astype(dtype)


def written(folder: Path, suffix: str, array: np.ndarray) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-101.5, 33.25, -700.0))
    path = folder / f"scan{suffix}"
    sitk.WriteImage(image, str(path), "raw" not in suffix and suffix not in (".nii", ".mhd", ".nhdr"))
    return path


@pytest.fixture
def no_full_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ct_files, "read_ct", lambda path: pytest.fail(f"{path} was read through"))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_large_ct_is_not_read_through(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, suffix, large())
    truth = read_ct(path)
    monkeypatch.setattr(ct_files, "read_ct", lambda path: pytest.fail(f"{path} was read through"))
    shape, geometry = ct_grid(path)
    assert shape == truth.array.shape
    assert geometry == truth.geometry
    assert (geometry.verbatim is None) == (truth.geometry.verbatim is None)


@pytest.mark.usefixtures("no_full_read")
def test_a_compressed_ct_that_is_damaged_further_on_is_still_indexed(tmp_path: Path) -> None:
    path = written(tmp_path, ".nii.gz", large())
    content = bytearray(path.read_bytes())
    content[len(content) * 9 // 10] ^= 255
    path.write_bytes(content)
    (found,) = find_sources(tmp_path)[0]
    case = found.new_case()
    assert (case.shape, case.sha256) == ((40, 200, 210), fingerprint(path))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_ends_early_is_refused(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, suffix, large())
    data = next(
        (other for other in tmp_path.iterdir() if other.suffix in (".raw", ".gz", ".zraw") and other != path), path
    )
    data.write_bytes(data.read_bytes()[:-70_000])
    with pytest.raises(ValueError, match=f"scan{suffix}"):
        ct_grid(path)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_a_mask_is_refused(tmp_path: Path, suffix: str, dtype: type) -> None:
    path = written(tmp_path, suffix, (large() > 0).astype(dtype))
    with pytest.raises(NotHounsfieldError, match="not in Hounsfield units"):
        ct_grid(path)


@pytest.mark.usefixtures("no_full_read")
@pytest.mark.parametrize("suffix", FORMATS)
def test_unsigned_voxels_are_refused_without_a_look_at_them(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path, suffix, (large() > 0).astype(np.uint8))
    with pytest.raises(NotHounsfieldError, match=r"uint8 voxels \(a mask\?\)"):
        ct_grid(path)


def test_scaled_voxels_are_judged_by_what_they_mean(tmp_path: Path) -> None:
    image = nib.Nifti1Image((large() + 1000).astype(np.int16).T, np.eye(4))
    image.header.set_slope_inter(1.0, -1000.0)
    image.header.set_data_dtype(np.uint16)
    path = tmp_path / "scan.nii.gz"
    nib.save(image, path)
    layout = ct_files.LAYOUTS[".nii.gz"](path)
    assert layout is not None and not layout.is_unsigned
    np.testing.assert_array_equal(
        ct_files.first_voxels(layout), np.asarray(nib.load(path).dataobj).T.ravel()[: 1 << 20].astype(np.float32)
    )


def test_a_scan_that_begins_without_air_is_read_through(tmp_path: Path) -> None:
    array = large()
    array[:30] = 50  # water, then air
    assert ct_grid(written(tmp_path, ".nii.gz", array))[0] == array.shape


@pytest.mark.parametrize("value", [np.nan, 1e9, -1e9])
def test_first_voxels_that_are_no_hounsfield_units_decide_nothing(tmp_path: Path, value: float) -> None:
    array = large(np.float32)
    array[0, 0, 0] = value
    with pytest.raises(NotHounsfieldError):
        ct_grid(written(tmp_path, ".nii.gz", array))


def test_several_gzip_streams_in_one_file_are_read(tmp_path: Path) -> None:
    import gzip

    path = written(tmp_path, ".nii.gz", large())
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(b"".join(gzip.compress(content[at : at + 500_000], 1) for at in range(0, len(content), 500_000)))
    assert ct_grid(path)[0] == (40, 200, 210)
    layout = ct_files.LAYOUTS[".nii.gz"](path)
    assert layout is not None
    np.testing.assert_array_equal(ct_files.first_voxels(layout), large().ravel()[: 1 << 20])


def test_a_big_endian_nrrd_is_read_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scan.nrrd"
    header = {"space": "left-posterior-superior", "space directions": np.eye(3), "space origin": np.zeros(3)}
    nrrd.write(str(path), large().T.astype(">i2"), {**header, "endian": "big", "encoding": "raw"})
    monkeypatch.setattr(ct_files, "read_ct", lambda path: pytest.fail("was read through"))
    assert ct_grid(path)[0] == (40, 200, 210)
    layout = ct_files.LAYOUTS[".nrrd"](path)
    assert layout is not None
    np.testing.assert_array_equal(ct_files.first_voxels(layout), large().ravel()[: 1 << 20])
