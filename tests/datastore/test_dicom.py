from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_series import write_series
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEG2000Lossless, RLELossless

from datastore.dicom import find_series, read_folder
from datastore.image_files import read_ct
from datastore.sources import find_sources


@pytest.fixture
def hu() -> np.ndarray:
    return np.random.default_rng(1).integers(-1024, 1500, (9, 10, 12)).astype(np.int16)


def test_a_series_is_read_in_the_order_of_positions_on_its_own_grid(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path, hu)
    volume = read_folder(tmp_path)
    np.testing.assert_array_equal(volume.array, hu)
    assert volume.geometry.spacing_mm == (0.7, 0.8, 2.5)
    assert volume.geometry.origin_mm == (-10.0, -20.0, 100.0)


@pytest.mark.parametrize(
    "orientation",
    [
        (1, 0, 0, 0, 1, 0),
        (-1, 0, 0, 0, -1, 0),  # prone
        (1, 0, 0, 0, 0, -1),  # coronal
        (0, 1, 0, 0, 0, -1),  # sagittal
        (0.9848077530, 0.1736481777, 0, -0.1736481777, 0.9848077530, 0),
    ],
)
def test_a_series_of_any_orientation_lies_where_itk_says(
    tmp_path: Path, hu: np.ndarray, orientation: tuple[float, ...]
) -> None:
    write_series(tmp_path, hu, orientation=orientation)
    volume = read_folder(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    itk = reader.Execute()
    ours = volume.to_lps()
    theirs = sitk.DICOMOrient(itk, "LPS")
    np.testing.assert_array_equal(ours.array, sitk.GetArrayFromImage(theirs))
    np.testing.assert_allclose(ours.geometry.origin_mm, theirs.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(ours.geometry.spacing_mm, theirs.GetSpacing(), atol=1e-4)
    np.testing.assert_allclose(ours.geometry.direction, theirs.GetDirection(), atol=1e-6)


def test_two_series_in_a_folder_are_two_cases_and_never_mixed(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path, hu, prefix="a")
    write_series(tmp_path, hu[:5], prefix="b", origin_mm=(-10.0, -20.0, 101.25))
    series, rejected = find_series(tmp_path)
    assert sorted(item.shape[0] for item in series) == [5, 9]
    assert rejected == []
    with pytest.raises(ValueError, match="holds 2 series, expected one"):
        read_folder(tmp_path)
    for item in series:
        np.testing.assert_array_equal(read_folder(tmp_path, item.uid).array, hu[: item.shape[0]])
    found, _ = find_sources(tmp_path)
    assert len({source.name for source in found}) == 2


def test_a_copy_of_a_slice_under_another_name_changes_nothing(tmp_path: Path, hu: np.ndarray) -> None:
    paths = write_series(tmp_path, hu)
    (tmp_path / "copy").write_bytes(paths[3].read_bytes())
    np.testing.assert_array_equal(read_folder(tmp_path).array, hu)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"skip": (4,)}, "1 slice missing at slice 4: 5 mm apart, expected 2.5 mm"),
        ({"skip": (3, 4)}, "2 slices missing"),
        ({"step_mm": (0.0, 0.5, 2.45)}, "gantry tilt of 11.5 degrees"),
        ({"step_mm": (0.0, 0.0, 0.0)}, "9 images of one place, as of bolus monitoring: no volume"),
        ({"step_mm": (0.0, 0.0, 0.0), "origin_mm": (0.0, 0.0, 0.0)}, "9 slices share a position"),
        ({"RescaleIntercept": None}, "no Rescale Slope and Intercept: not in Hounsfield units"),
        ({"ImagePositionPatient": None}, "has no ImagePositionPatient"),
        ({"Modality": "MR"}, "modality MR, expected CT"),
        ({"Modality": "DX"}, "modality DX, expected CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"PixelSpacing": "0.7"}, "expected 2 numbers as PixelSpacing"),
        ({"PixelSpacing": ["0", "0.7"]}, "spacing must be above 0"),
        ({"RescaleSlope": ["1", "2"]}, r"is damaged: expected 1 numbers as RescaleSlope, got '1"),
        ({"RescaleSlope": "0"}, "they give no Hounsfield units"),
        ({"RescaleSlope": "-1"}, "they give no Hounsfield units"),
        ({"Rows": 0}, "expected pixels, got 0 rows"),
        ({"Columns": None}, "has no Columns"),
        ({"PixelData": None}, "has no pixel data"),
        ({"ImagePositionPatient": ["nan", "0", "0"]}, "expected 3 numbers"),
        ({"SOPInstanceUID": "1.2.3"}, "have one SOP Instance UID but differ"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "3 samples per pixel"),
    ],
)
def test_what_is_no_whole_ct_volume_is_refused_with_the_reason(
    tmp_path: Path, hu: np.ndarray, how: dict[str, object], message: str
) -> None:
    folder = tmp_path / "series"
    write_series(folder, hu, **how)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message) as caught:
        read_ct(folder)
    assert "series" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_odd_series_does_not_hide_the_others(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path / "good", hu)
    write_series(tmp_path / "odd", hu, PixelSpacing="0.7")
    write_series(tmp_path / "good", hu, prefix="hole", skip=(2,))
    (tmp_path / "good" / "loop.dcm").symlink_to("loop.dcm")
    os.mkfifo(tmp_path / "good" / "pipe.dcm")
    found, rejected = find_sources(tmp_path)
    assert [item.series.shape for item in found if item.series] == [(9, 10, 12)]
    reasons = sorted(item.reason for item in rejected)
    assert reasons[0].startswith("1 slice missing at slice 2")
    assert reasons[1].startswith("cannot be read: Too many levels of symbolic links")
    assert reasons[2] == "not a regular file"
    assert reasons[3].startswith("slice 1 is damaged: expected 2 numbers as PixelSpacing")
    (tmp_path / "good" / "loop.dcm").unlink()
    np.testing.assert_array_equal(read_folder(tmp_path / "good", found[0].source.series_uid).array, hu)


@pytest.mark.parametrize("end", [0, -1])
def test_a_torn_file_beside_a_single_series_is_taken_for_its_slice(tmp_path: Path, hu: np.ndarray, end: int) -> None:
    by_position = sorted(write_series(tmp_path, hu), key=lambda path: dcmread(path).ImagePositionPatient[2])
    by_position[end].write_bytes(b"")
    series, rejected = find_series(tmp_path)
    assert series == []
    assert rejected[-1].reason == "one of its files is damaged: empty file (0 bytes)"
    assert rejected[-1].path == by_position[end]


@pytest.mark.parametrize("compressor", ["RLE", "JPEG2000"])
def test_compressed_multi_frame_ct_is_refused_instead_of_rescaled_twice(
    tmp_path: Path, hu: np.ndarray, compressor: str
) -> None:
    path = tmp_path / "enhanced.dcm"
    write_multi_frame(tmp_path, hu).rename(path)
    dataset = dcmread(path)
    if compressor == "RLE":
        dataset.compress(RLELossless)
    else:  # what is in the pixels does not matter: they are not looked at
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.PixelData = encapsulate([bytes(10)] * len(hu))
        dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    with pytest.raises(ValueError, match="compressed multi-frame CT is not read"):
        read_ct(path)


def test_a_slice_that_cannot_be_opened_is_not_left_out_in_silence(
    tmp_path: Path, hu: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = write_series(tmp_path, hu)[0]
    real_open = open

    def refusing(path: object, *rest: object, **more: object) -> object:  # root reads whatever the mode says
        if str(path) == str(locked):
            raise PermissionError(13, "Permission denied", str(locked))
        return real_open(path, *rest, **more)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", refusing)
    with pytest.raises(ValueError, match=f"{locked.name}: cannot be read: Permission denied"):
        read_folder(tmp_path)


def test_slices_of_different_size_are_refused(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path, hu, series_uid="1.2.3")
    write_series(tmp_path, hu[:1, :8], series_uid="1.2.3", prefix="odd", origin_mm=(-10.0, -20.0, 200.0))
    with pytest.raises(ValueError, match="slices of different size"):
        read_folder(tmp_path)


@pytest.mark.parametrize("keep", [0.9, 0.3, 0.0])
def test_a_torn_slice_is_named(tmp_path: Path, hu: np.ndarray, keep: float) -> None:
    torn = write_series(tmp_path, hu)[2]
    torn.write_bytes(torn.read_bytes()[: int(torn.stat().st_size * keep)])
    with pytest.raises(ValueError, match=torn.name):
        read_ct(tmp_path)


def test_a_slice_without_all_its_pixels_is_noticed_from_the_headers(tmp_path: Path, hu: np.ndarray) -> None:
    torn = write_series(tmp_path, np.zeros((4, 200, 200), np.int16))[2]
    torn.write_bytes(torn.read_bytes()[:20_000])
    series, rejected = find_series(tmp_path)
    assert series == []
    assert [item.damaged for item in rejected] == [True]
    assert rejected[0].path == torn
    assert "is truncated: expected 80000 bytes of pixels, got 19" in rejected[0].reason


def test_a_folder_of_text_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(ValueError, match="no readable CT series"):
        read_ct(tmp_path)


def test_a_single_file_is_a_volume_of_one_slice(tmp_path: Path, hu: np.ndarray) -> None:
    path = write_series(tmp_path, hu[:1])[0]
    volume = read_ct(path)
    np.testing.assert_array_equal(volume.array, hu[:1])
    assert volume.geometry.spacing_mm == (0.7, 0.8, 2.5)


def test_rescale_is_applied_slice_by_slice(tmp_path: Path, hu: np.ndarray) -> None:
    write_series(tmp_path, hu[:4], series_uid="1.2.3", RescaleSlope="1", RescaleIntercept="-1024")
    write_series(
        tmp_path,
        hu[4:8],
        series_uid="1.2.3",
        prefix="other",
        origin_mm=(-10.0, -20.0, 110.0),
        RescaleSlope="0.5",
        RescaleIntercept="-512",
    )
    expected = np.concatenate([hu[:4], np.rint((hu[4:8].astype(float) + 1024) * 0.5 - 512)])
    np.testing.assert_array_equal(read_folder(tmp_path).array, expected)


def test_a_compressed_series_gives_the_same_hounsfield_units(tmp_path: Path, hu: np.ndarray) -> None:
    for path in write_series(tmp_path / "plain", hu):
        image = sitk.ReadImage(str(path), sitk.sitkInt16)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG2000")
        writer.SetFileName(str(tmp_path / path.name))
        writer.Execute(image)
    assert dcmread(tmp_path / "slice-000.dcm").file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(read_folder(tmp_path).array, hu)


@pytest.mark.parametrize("implicit", [True, False])
def test_an_old_export_without_preamble_is_read(tmp_path: Path, hu: np.ndarray, implicit: bool) -> None:
    for path in write_series(tmp_path / "new", hu):
        dataset = dcmread(path)
        dataset.is_implicit_VR = implicit
        dataset.file_meta, dataset.preamble = FileMetaDataset(), None
        dataset.save_as(tmp_path / path.name)
        assert b"DICM" not in (tmp_path / path.name).read_bytes()[:200]
    np.testing.assert_array_equal(read_folder(tmp_path).array, hu)


def write_multi_frame(folder: Path, hu: np.ndarray) -> Path:
    """One enhanced file of all slices, the last position first."""
    path = write_series(folder, hu[:1])[0]
    enhanced = dcmread(path)
    for name in ("PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(enhanced, name)
    del enhanced.RescaleSlope, enhanced.RescaleIntercept

    def group(keyword: str, **attributes: object) -> Dataset:
        inner, outer = Dataset(), Dataset()
        for name, value in attributes.items():
            setattr(inner, name, value)
        setattr(outer, keyword, Sequence([inner]))
        return outer

    shared = group("PixelMeasuresSequence", PixelSpacing=["0.8", "0.7"], SliceThickness="2.5")
    shared.update(group("PlaneOrientationSequence", ImageOrientationPatient=["1", "0", "0", "0", "1", "0"]))
    shared.update(group("PixelValueTransformationSequence", RescaleSlope="1", RescaleIntercept="-1024"))
    enhanced.SharedFunctionalGroupsSequence = Sequence([shared])
    enhanced.PerFrameFunctionalGroupsSequence = Sequence(
        group("PlanePositionSequence", ImagePositionPatient=["-10", "-20", str(100 - 2.5 * index)])
        for index in range(len(hu))
    )
    enhanced.NumberOfFrames = len(hu)
    enhanced.PixelData = (hu.astype(np.int32) + 1024).astype("<u2").tobytes()
    enhanced.save_as(path)
    return path


def test_a_multi_frame_file_is_a_volume(tmp_path: Path, hu: np.ndarray) -> None:
    volume = read_ct(write_multi_frame(tmp_path, hu))
    np.testing.assert_array_equal(volume.array, hu[::-1])
    assert volume.geometry.spacing_mm == (0.7, 0.8, 2.5)


def test_real_series_are_found_each_for_itself(real_data: Path) -> None:
    found, rejected = find_sources(real_data / "dicom")
    assert [len(item.series.slices) for item in found if item.series] == [64, 30, 30]
    assert rejected == []
    volume = read_ct(real_data / "dicom" / "Lung_Dx-A0001")
    assert volume.array.shape == (64, 512, 512)
    assert volume.geometry.spacing_mm == (0.841796875, 0.841796875, 5.0)
    assert volume.geometry.origin_mm[2] == -439.0
