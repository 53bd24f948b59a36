"""Voxels are read once, into the array they end in; nibabel and SimpleITK are the judges of what they are."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_series import write_series

from datastore import room as room_module
from datastore.geometry import Geometry
from datastore.hounsfield import NotHounsfieldError, hounsfield_units
from datastore.image_files import read_ct, write_mask
from datastore.nifti import write_nifti
from datastore.room import room
from datastore.volume import Volume

MIB = 1 << 20
BUFFERS = 10 * MIB  # what a reader may hold besides the voxels


def noise(shape: tuple[int, ...], dtype: type | str = np.int16) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, shape).astype(dtype)


def saved(array: np.ndarray, path: Path, axes: str = "LAS") -> Path:
    """A NIfTI file of (x, y, z) voxels stored along some axes."""
    ornt = nib.orientations.axcodes2ornt(axes)
    affine = nib.orientations.inv_ornt_aff(ornt, array.shape) @ np.diag([1.0, 1.5, 2.0, 1.0])
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def peak_of(call: object) -> int:
    tracemalloc.start()
    call()  # type: ignore[operator]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", "<f8", "<i4", "i1"])
def test_every_type_of_voxel_gives_the_hounsfield_units_that_nibabel_gives(
    tmp_path: Path, dtype: str, suffix: str
) -> None:
    array = np.clip(noise((6, 5, 4)), -100, 100).astype(dtype)
    path = saved(array + np.dtype(dtype).type(0.3), tmp_path / f"scan{suffix}")
    expected = np.rint(np.asarray(nib.load(path).dataobj)).astype(np.int16).T
    scan = read_ct(path).array
    assert scan.dtype == np.int16 and scan.dtype.isnative
    np.testing.assert_array_equal(scan, expected)


@pytest.mark.parametrize("axes", ["RAS", "LAS", "LPS", "SPR", "AIL"])
def test_memory_lies_along_lps_whatever_the_order_of_the_file(tmp_path: Path, axes: str) -> None:
    array = noise((6, 5, 4))
    scan = read_ct(saved(array, tmp_path / "scan.nii.gz", axes))
    np.testing.assert_array_equal(scan.array, array.T)
    upright = scan.to_lps().array
    assert upright.flags.c_contiguous
    assert np.shares_memory(upright, scan.array)
    assert np.shares_memory(scan.with_lps_array(upright).array, upright)


def test_a_series_lies_along_lps_too(tmp_path: Path) -> None:
    hu = noise((4, 6, 8))
    write_series(tmp_path, hu, orientation=(0, 1, 0, 0, 0, -1))  # sagittal
    scan = read_ct(tmp_path)
    assert scan.array.shape == (4, 6, 8)
    np.testing.assert_array_equal(scan.array, hu)
    assert scan.to_lps().array.flags.c_contiguous


@pytest.mark.parametrize("kind", [".nii", ".nii.gz", ".nrrd", ".mha", "float .nii.gz", "scaled .nii"])
def test_reading_holds_the_voxels_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"scan{kind.split()[-1]}"
    array = np.full((256, 256, 200), -1000, np.int16)
    array[:, :, 70] = noise((256, 256))
    if "float" in kind:
        saved(array.astype(np.float32), path)
    elif path.suffix == ".nrrd":
        nrrd.write(str(path), array, {"encoding": "gzip", "spacings": [1.0, 1.0, 2.0]}, compression_level=1)
    elif path.suffix == ".mha":
        sitk.WriteImage(sitk.GetImageFromArray(array.T), str(path), False)
    else:
        image = nib.Nifti1Image(array, np.diag([1.0, 1.0, 1.0, 1.0]))
        if "scaled" in kind:
            image.header.set_slope_inter(0.5, -10.0)
        nib.save(image, path)
    assert peak_of(lambda: read_ct(path).to_lps()) < array.nbytes + BUFFERS


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_writing_holds_no_second_mask(tmp_path: Path, suffix: str) -> None:
    flipped = Geometry((1.0, 1.0, 1.0), direction=(-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    scan = Volume(np.zeros((400, 256, 256), np.int16), flipped)
    labels = np.zeros((400, 256, 256), np.uint8)
    labels[100:300, 50:200, 50:200] = 1
    path = tmp_path / f"mask{suffix}"
    assert peak_of(lambda: write_mask(scan.with_lps_array(labels), path)) < BUFFERS < labels.nbytes / 2
    written = np.asarray(nib.load(path).dataobj).T
    np.testing.assert_array_equal(written, labels[:, ::-1, ::-1])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_what_is_written_is_what_nibabel_writes(tmp_path: Path, small_volume: Volume, dtype: type) -> None:
    volume = Volume(small_volume.array.astype(dtype), small_volume.geometry)
    write_nifti(volume, tmp_path / "ours.nii")
    loaded = nib.load(tmp_path / "ours.nii")
    theirs = nib.Nifti1Image(np.asarray(loaded.dataobj), None, loaded.header).to_bytes()
    assert (tmp_path / "ours.nii").read_bytes() == theirs
    write_nifti(volume, tmp_path / "ours.nii.gz")
    assert gzip.decompress((tmp_path / "ours.nii.gz").read_bytes()) == theirs


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("slices", [70, 30_000])
def test_a_header_that_promises_more_than_there_is_is_refused(tmp_path: Path, suffix: str, slices: int) -> None:
    path = saved(noise((64, 64, 60)), tmp_path / "whole.nii")
    content = bytearray(path.read_bytes())
    content[46:48] = np.int16(slices).tobytes()  # dim[3]
    target = tmp_path / f"scan{suffix}"
    target.write_bytes(gzip.compress(content) if suffix == ".nii.gz" else content)

    def refused() -> None:
        with pytest.raises(ValueError, match="scan.nii.*truncated or damaged: expected .* bytes of voxels"):
            read_ct(target)

    peak = peak_of(refused)
    assert peak < MIB or suffix == ".nii.gz"  # whose length says little


def test_bytes_beyond_the_voxels_are_padding_only_while_they_are_few(tmp_path: Path) -> None:
    path = saved(noise((8, 8, 8)), tmp_path / "scan.nii")
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(MIB))
    assert read_ct(path).array.shape == (8, 8, 8)
    path.write_bytes(whole + bytes(MIB + 1))
    with pytest.raises(ValueError, match="scan.nii: damaged: more than"):
        read_ct(path)


def test_an_nrrd_that_is_odd_is_left_to_its_own_reader(tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    nrrd.write(str(path), noise((8, 7, 6)), {"encoding": "gzip"})
    path.write_bytes(path.read_bytes() + b"#")  # which pynrrd takes and Python's gzip does not
    with pytest.raises(ValueError, match="cannot be read as NRRD"):
        read_ct(path)


def test_all_voxels_count_for_whether_they_are_hounsfield_units() -> None:
    array = noise((50, 40, 40))
    assert hounsfield_units(array) is array
    for value, message in ((80_000, "values run from -1000 to 80000"), (-50_000, "values run from -50000")):
        odd = array.astype(np.int32)
        odd[20, 5, 5] = value
        with pytest.raises(NotHounsfieldError, match=message):
            hounsfield_units(odd)
    holed = array.astype(np.float64)
    holed[[3, 30], 5, 5] = np.nan, np.inf
    with pytest.raises(NotHounsfieldError, match="2 voxels are not finite"):
        hounsfield_units(holed)
    bright = array.astype(np.float64)
    bright[0, 0, 0], bright[1, 1, 1] = 40_000, -39_000.4
    assert hounsfield_units(bright)[0, 0, 0] == 32767
    assert hounsfield_units(bright)[1, 1, 1] == -32768


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_what_knows_no_air_is_no_ct(dtype: type) -> None:
    with pytest.raises(NotHounsfieldError, match=r"values run from 0 to 200 \(a mask\?\)"):
        hounsfield_units(np.array([[[0, 200]]], dtype))


def test_a_very_long_scan_lies_in_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_module, "MOST_IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(room_module.tempfile, "tempdir", str(tmp_path))
    assert peak_of(lambda: room((200, 200, 200), np.int16)) < 100_000
    array = noise((6, 50, 4))
    scan = read_ct(saved(array, tmp_path / "scan.nii.gz", "SPR"))
    np.testing.assert_array_equal(scan.array, array.T)
    scan.array[0, 0, 0] = 7
    assert scan.array[0, 0, 0] == 7
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]


def test_where_the_temporary_folder_is_full_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int, _start: int, _size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(room_module, "MOST_IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(room_module.os, "posix_fallocate", full)
    made = room((10, 10, 10), np.int16)
    assert made.shape == (10, 10, 10)
    assert made.flags.owndata
