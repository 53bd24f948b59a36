"""Files in and out. SimpleITK and nibabel, which did not write our code's files, are the judges of geometry."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from datastore.geometry import Geometry
from datastore.image_files import NotHounsfieldError, read_ct, read_mask, stored_shape, write_mask
from datastore.labels import LUNGS
from datastore.metaimage import write_metaimage_pair
from datastore.nifti import GRID_FIELDS, is_read_alike
from datastore.nrrd_files import read_segmentation
from datastore.volume import Volume

FORMATS = [".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha"]
OBLIQUE = (0.9396926, -0.3420201, 0.0, 0.3420201, 0.9396926, 0.0, 0.0, 0.0, 1.0)


def itk_image(array: np.ndarray, direction: tuple[float, ...] = OBLIQUE) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.8, 1 / 3))
    image.SetOrigin((-101.123456789, 33.3, -700.1))
    image.SetDirection(direction)
    return image


def grid_of(path: Path) -> tuple[tuple[float, ...], ...]:
    image = sitk.ReadImage(str(path))
    return image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_mask_in_the_format_of_its_image_has_the_same_grid_bit_for_bit(tmp_path: Path, suffix: str) -> None:
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 60
    path, target = tmp_path / f"scan{suffix}", tmp_path / f"mask{suffix}"
    sitk.WriteImage(itk_image(array), str(path))
    scan = read_ct(path)
    np.testing.assert_array_equal(scan.array, array)
    mask = (array > 0).astype(np.uint8)
    write_mask(scan.with_lps_array(scan.with_array(mask).to_lps().array), target)
    assert grid_of(target) == grid_of(path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(target))), mask)
    if suffix == ".nii.gz":
        np.testing.assert_array_equal(nib.load(target).affine, nib.load(path).affine)
        for field in GRID_FIELDS:
            np.testing.assert_array_equal(nib.load(target).header[field], nib.load(path).header[field], field)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("source", [".nii.gz", ".nrrd", ".mha"])
def test_a_mask_in_any_format_lies_where_its_image_lies(tmp_path: Path, source: str, suffix: str) -> None:
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 60
    path, target = tmp_path / f"scan{source}", tmp_path / f"mask{suffix}"
    sitk.WriteImage(itk_image(array), str(path))
    scan = read_ct(path)
    mask = scan.with_array(np.clip(array, 0, 2).astype(np.uint8))
    write_mask(mask, target)
    for ours, theirs in zip(grid_of(target), grid_of(path), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(read_mask(target).on_grid_of(scan).array, mask.array)


@pytest.mark.parametrize("axes", ["RAS", "LAS", "LPS", "SPR", "AIL"])
def test_nifti_of_any_orientation_is_read_where_nibabel_says(tmp_path: Path, axes: str) -> None:
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4) - 30
    ornt = nib.orientations.axcodes2ornt(axes)
    affine = nib.orientations.inv_ornt_aff(ornt, (2, 3, 4)) @ np.diag([1.5, 2.0, 2.5, 1.0])
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(array, affine), path)
    upright = read_ct(path).to_lps()
    canonical = nib.as_closest_canonical(nib.load(path))  # RAS+
    np.testing.assert_array_equal(upright.array, np.asarray(canonical.dataobj)[::-1, ::-1].T)


def test_scaled_nifti_gives_hounsfield_units(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(2.0, -1024.0)
    path = tmp_path / "scan.nii"
    nib.save(image, path)
    raw = nib.load(path)
    expected = np.asarray(raw.dataobj).T
    np.testing.assert_array_equal(read_ct(path).array, np.rint(expected).astype(np.int16))


def test_a_fourth_axis_of_length_one_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(np.full((2, 3, 4, 1), -50, np.int16), np.eye(4)), path)
    assert read_ct(path).array.shape == (4, 3, 2)


def test_ras_nrrd_is_read_where_itk_says(tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 50
    header = {
        "space": "right-anterior-superior",
        "space directions": np.diag([1.0, 2.0, 3.0]),
        "space origin": np.array([10.0, 20.0, 30.0]),
    }
    nrrd.write(str(path), array, header)
    scan = read_ct(path)
    itk = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(scan.array, sitk.GetArrayFromImage(itk))
    np.testing.assert_allclose(scan.geometry.origin_mm, itk.GetOrigin())
    np.testing.assert_allclose(scan.geometry.direction, itk.GetDirection())


def test_a_segmentation_names_its_segments(tmp_path: Path, small_volume: Volume) -> None:
    mask = small_volume.with_array(np.clip(small_volume.array, 0, 2).astype(np.uint8))
    path = tmp_path / "lungs.seg.nrrd"
    write_mask(mask, path)
    header = nrrd.read_header(str(path))
    for number, structure in enumerate(LUNGS):
        assert header[f"Segment{number}_Name"] == structure.name
        assert header[f"Segment{number}_LabelValue"] == str(structure.value)
    back, names = read_segmentation(path, small_volume)
    np.testing.assert_array_equal(back.array, mask.array)
    assert names == ["right_lung", "left_lung"]


def test_a_segmentation_cropped_to_its_segments_is_laid_into_the_image(tmp_path: Path) -> None:
    image = Volume(np.zeros((6, 7, 8), np.int16), Geometry((1.0, 1.5, 2.0), (10.0, 20.0, 30.0)))
    part = np.ones((4, 3, 2), np.uint8)  # (x, y, z)
    part[0] = 2
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag([1.0, 1.5, 2.0]),
        "space origin": np.array([10.0 + 3 * 1.0, 20.0 + 2 * 1.5, 30.0 + 1 * 2.0]),
        "Segment0_Name": "left_lung",
        "Segment0_LabelValue": "2",
        "Segment1_Name": "right_lung",
        "Segment1_LabelValue": "1",
    }
    path = tmp_path / "cropped.seg.nrrd"
    nrrd.write(str(path), part, header)
    mask, names = read_segmentation(path, image)
    assert names == ["left_lung", "right_lung"]
    expected = np.zeros((6, 7, 8), np.uint8)
    expected[1:3, 2:5, 3:7] = 2  # right_lung is the second segment
    expected[1:3, 2:5, 3] = 1
    np.testing.assert_array_equal(mask.array, expected)


def test_overlapping_segments_are_refused(tmp_path: Path, small_volume: Volume) -> None:
    layers = np.ones((2, 6, 5, 4), np.uint8)
    header = {
        "space": "left-posterior-superior",
        "space directions": np.vstack([np.full(3, np.nan), np.eye(3)]),
        "space origin": np.zeros(3),
        "kinds": ["list", "domain", "domain", "domain"],
    }
    for number, name in enumerate(("right_lung", "left_lung")):
        header |= {
            f"Segment{number}_Name": name,
            f"Segment{number}_LabelValue": "1",
            f"Segment{number}_Layer": str(number),
        }
    path = tmp_path / "overlap.seg.nrrd"
    nrrd.write(str(path), layers, header)
    with pytest.raises(ValueError, match="segments overlap in 120 voxels"):
        read_segmentation(path, small_volume)


def truncated(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)


def bad_file(kind: str, folder: Path) -> Path:
    path = folder / "scan.nii.gz"
    if kind == "jpeg":
        path.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(200))
    elif kind == "gzipped text":
        path.write_bytes(gzip.compress(b"hello " * 100))
    elif kind == "empty":
        path.touch()
    elif kind == "truncated":
        nib.save(nib.Nifti1Image(noise((20, 20, 20)), np.eye(4)), path)
        truncated(path)
    elif kind == "4D":
        nib.save(nib.Nifti1Image(noise((5, 5, 5, 3)), np.eye(4)), path)
    elif kind == "colours":
        dtype = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
        nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), dtype), np.eye(4)), path)
    elif kind == "sheared":
        affine = np.eye(4)
        affine[1, 2] = 0.3
        nib.save(nib.Nifti1Image(noise((4, 4, 4)), affine), path)
    elif kind == "not finite":
        array = noise((4, 4, 4)).astype(np.float32)
        array[1, 1, 1] = np.nan
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    elif kind == "mask":
        nib.save(nib.Nifti1Image((noise((4, 4, 4)) > 0).astype(np.uint8), np.eye(4)), path)
    elif kind == "raw values":
        nib.save(nib.Nifti1Image(noise((4, 4, 4)) + 1024, np.eye(4)), path)
    elif kind == "text":
        path = folder / "notes.txt"
        path.write_text("hello")
    elif kind in ("truncated .mha", "truncated .nrrd"):
        path = folder / f"scan{kind.split()[1]}"
        sitk.WriteImage(itk_image(noise((20, 20, 20))), str(path))
        truncated(path)
    elif kind == "missing":
        path = folder / "nowhere.nii.gz"
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("jpeg", "cannot be read as NIfTI"),
        ("gzipped text", "cannot be read as NIfTI"),
        ("empty", "empty file"),
        ("truncated", "truncated or damaged"),
        ("4D", r"expected 3 axes \(x, y, z\), got 4"),
        ("colours", "expected one number per voxel"),
        ("sheared", "sheared"),
        ("not finite", "1 voxels are not finite"),
        ("mask", r"values run from 0 to 1 \(a mask\?\)"),
        ("raw values", "not in Hounsfield units"),
        ("text", "unknown kind of file"),
        ("truncated .mha", "cannot be read as MetaImage"),
        ("truncated .nrrd", "cannot be read as NRRD"),
        ("missing", "no such file"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path: Path, kind: str, message: str) -> None:
    path = bad_file(kind, tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        read_ct(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_ct_is_told_apart_from_what_is_broken(tmp_path: Path) -> None:
    with pytest.raises(NotHounsfieldError):
        read_ct(bad_file("mask", tmp_path))
    with pytest.raises(ValueError) as caught:
        read_ct(bad_file("truncated", tmp_path))
    assert not isinstance(caught.value, NotHounsfieldError)


def test_a_flipped_bit_in_a_compressed_file_is_noticed(tmp_path: Path) -> None:
    for name, write in (
        ("scan.nii.gz", lambda path: nib.save(nib.Nifti1Image(noise((20, 20, 20)), np.eye(4)), path)),
        ("scan.nrrd", lambda path: sitk.WriteImage(itk_image(noise((20, 20, 20))), str(path), True)),
    ):
        path = tmp_path / name
        write(path)
        content = bytearray(path.read_bytes())
        content[-5] ^= 1  # in gzip's own checksum: the voxels still decompress
        path.write_bytes(content)
        with pytest.raises(ValueError, match=name):
            read_ct(path)


def test_a_header_leads_to_no_other_file(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere" / "secret.raw"
    secret.parent.mkdir()
    secret.write_bytes(noise((4, 4, 4)).tobytes())
    (tmp_path / "beside.raw").write_bytes(noise((4, 4, 4)).tobytes())
    meta = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\nElementDataFile = {}\n"
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 4 4\nencoding: raw\nendian: little\ndata file: {}\n"
    for suffix, text in ((".mhd", meta), (".mha", meta), (".nhdr", header), (".nrrd", header)):
        path = tmp_path / f"scan{suffix}"
        for name in (str(secret), "elsewhere/secret.raw", "../x", "%s%s%s%n 1 3 1", "LIST", "missing.raw"):
            path.write_text(text.format(name))
            with pytest.raises(ValueError, match=f"scan{suffix}"):
                read_ct(path)
        path.write_text(text.format("beside.raw"))
        if suffix in (".mhd", ".nhdr"):
            np.testing.assert_array_equal(read_ct(path).array, noise((4, 4, 4)))
        else:
            with pytest.raises(ValueError, match="expected voxels in the file itself"):
                read_ct(path)


def test_nifti_without_an_orientation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(noise((4, 4, 4)), None), path)
    with pytest.raises(ValueError, match="no orientation .* right and left cannot be told"):
        read_ct(path)


def test_nifti_with_two_orientations_is_refused_and_with_two_places_recognised(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    image = nib.Nifti1Image(noise((4, 4, 4)), np.eye(4))
    image.set_sform(np.diag([1.0, 1.0, 1.0, 1.0]), code=1)
    image.set_qform(np.diag([-1.0, 1.0, 1.0, 1.0]), code=1)
    nib.save(image, path)
    with pytest.raises(ValueError, match="different orientations"):
        read_ct(path)
    moved = np.eye(4)
    moved[0, 3] = 30.0
    image.set_qform(moved, code=1)
    nib.save(image, path)
    assert not is_read_alike(path)
    image.set_qform(np.eye(4), code=1)
    nib.save(image, path)
    assert is_read_alike(path)


def test_a_mask_of_nifti_2_is_nifti_1_which_itk_reads(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(noise((4, 5, 6)), np.diag([0.7, 0.8, 1 / 3, 1.0])), tmp_path / "scan.nii")
    scan = read_ct(tmp_path / "scan.nii")
    assert not is_read_alike(tmp_path / "scan.nii")
    write_mask(scan.with_array((scan.array > 0).astype(np.uint8)), tmp_path / "mask.nii")
    mask = sitk.ReadImage(str(tmp_path / "mask.nii"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), scan.array > 0)
    np.testing.assert_allclose(mask.GetSpacing(), (0.7, 0.8, 1 / 3), rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_numbers_on_another_scale_are_no_hounsfield_units(tmp_path: Path, scale: float) -> None:
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image((noise((8, 8, 8)) * scale).astype(np.float32), np.eye(4)), path)
    with pytest.raises(NotHounsfieldError, match="not in Hounsfield units"):
        read_ct(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_the_shape_is_known_from_the_header_alone(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(itk_image(noise((4, 5, 6))), str(path))
    assert stored_shape(path) == read_ct(path).array.shape == (4, 5, 6)


@pytest.mark.parametrize("value", [-1.0, 256.0, 0.5])
def test_a_mask_holds_whole_numbers_only(tmp_path: Path, value: float) -> None:
    path = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), value, np.float32), np.eye(4)), path)
    with pytest.raises(ValueError, match="label value|fractions"):
        read_mask(path)


def test_an_existing_file_is_left_as_it_is(tmp_path: Path, small_volume: Volume) -> None:
    path = tmp_path / "mask.nii.gz"
    path.write_text("my work")
    mask = small_volume.with_array(np.zeros((4, 5, 6), np.uint8))
    with pytest.raises(FileExistsError, match="exists already"):
        write_mask(mask, path)
    assert path.read_text() == "my work"
    assert [item.name for item in tmp_path.iterdir()] == ["mask.nii.gz"]
    write_mask(mask, path, overwrite=True)
    assert read_mask(path).array.shape == (4, 5, 6)


def test_the_same_mask_gives_the_same_bytes(tmp_path: Path, small_volume: Volume) -> None:
    mask = small_volume.with_array(np.clip(small_volume.array, 0, 2).astype(np.uint8))
    write_mask(mask, tmp_path / "a.nii.gz")
    write_mask(mask, tmp_path / "b.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_an_unknown_mask_format_is_refused(tmp_path: Path, small_volume: Volume) -> None:
    with pytest.raises(ValueError, match="unknown mask format"):
        write_mask(small_volume, tmp_path / "mask.png")


def test_a_header_and_its_voxels_have_the_grid_of_the_image_bit_for_bit(tmp_path: Path) -> None:
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 60
    sitk.WriteImage(itk_image(array), str(tmp_path / "scan.mha"))
    scan = read_ct(tmp_path / "scan.mha")
    header = tmp_path / "mask.mhd"
    assert write_metaimage_pair(scan.with_array((array > 0).astype(np.uint8)), header)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.mhd", "mask.zraw", "scan.mha"]
    assert grid_of(header) == grid_of(tmp_path / "scan.mha")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(header))), array > 0)
    np.testing.assert_array_equal(read_mask(header).array, array > 0)


@pytest.mark.parametrize("name", ["mask.mhd", "mask.zraw"])
def test_a_pair_of_files_is_completed_and_never_replaced(tmp_path: Path, small_volume: Volume, name: str) -> None:
    mask = small_volume.with_array((small_volume.array > 0).astype(np.uint8))
    assert write_metaimage_pair(mask, tmp_path / "mask.mhd")
    whole = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert not write_metaimage_pair(mask, tmp_path / "mask.mhd")
    (tmp_path / name).unlink()
    assert write_metaimage_pair(mask, tmp_path / "mask.mhd")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == whole
    (tmp_path / name).write_bytes(b"mine")
    (tmp_path / ({"mask.mhd", "mask.zraw"} - {name}).pop()).unlink()
    with pytest.raises(FileExistsError, match=f"{name}: exists already, with other content"):
        write_metaimage_pair(mask, tmp_path / "mask.mhd")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"mine"}
