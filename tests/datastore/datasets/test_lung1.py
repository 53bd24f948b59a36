from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rtstruct_files import outlines, write_rtstruct
from seg_files import write_seg
from tcia_files import FRAME_UID, found, masks, structures_path, study_folder, write_ct

from datastore.datasets import Missing, Reference
from datastore.datasets.dicom_seg import segment_masks
from datastore.geometry import Geometry
from datastore.phantom import Phantom, chest_phantom
from datastore.volume import Volume

SUBJECT = "LUNG1-001"


@pytest.fixture(scope="module")
def ill() -> Phantom:
    return chest_phantom(seed=2, shape=(40, 72, 72), spacing_mm=(8.0, 6.0, 6.0), lesion=True)


def contours(ill: Phantom) -> dict[str, list[np.ndarray]]:
    assert ill.lesion is not None
    geometry = ill.image.geometry
    return {
        "Lung-Left": outlines(ill.lungs.array == 2, geometry),
        "Lung-Right": outlines(ill.lungs.array == 1, geometry),
        "GTV-1": outlines(ill.lesion.array == 1, geometry),
    }


def segments(ill: Phantom) -> dict[tuple[str, str], np.ndarray]:
    assert ill.lesion is not None
    return {
        ("GTV-1", "Neoplasm, Primary"): ill.lesion.array == 1,
        ("Lung-Left", "Lung"): ill.lungs.array == 2,
        ("Lung-Right", "Lung"): ill.lungs.array == 1,
        ("Spinal-Cord", "Spinal cord"): ill.lungs.array == 7,
    }


def seg_path(root: Path) -> Path:
    return study_folder(root, SUBJECT) / "300.000000-Segmentation-10283" / "1-1.dcm"


def check(ill: Phantom, item: Reference | Missing) -> None:
    assert ill.lesion is not None
    result = masks(item)
    np.testing.assert_array_equal(result["lungs"].array, ill.lungs.array)
    np.testing.assert_array_equal(result["tumour"].array, ill.lesion.array)


def test_contours_become_lungs_and_tumour(tmp_path: Path, ill: Phantom) -> None:
    uid = write_ct(tmp_path / "NSCLC-Radiomics", SUBJECT, ill)
    others = {"GTV-N1": contours(ill)["GTV-1"], "PTV": [], "Spinal-Cord": []}
    path = structures_path(tmp_path / "NSCLC-Radiomics", SUBJECT)
    write_rtstruct(path, {**contours(ill), **others}, series_uid=uid, frame_uid=FRAME_UID)
    item = found("lung1", tmp_path)[SUBJECT]
    check(ill, item)
    assert isinstance(item, Reference)
    assert (item.patient, item.tags, item.notes[0].code) == (SUBJECT, ("tumour",), "tumour_unsure")


@pytest.mark.parametrize("skip_empty", [True, False])
def test_segments_become_lungs_and_tumour(tmp_path: Path, ill: Phantom, skip_empty: bool) -> None:
    uid = write_ct(tmp_path, SUBJECT, ill)
    how = {"series_uid": uid, "frame_uid": FRAME_UID}
    write_seg(seg_path(tmp_path), segments(ill), ill.image.geometry, skip_empty=skip_empty, **how)
    check(ill, found("lung1", tmp_path)[SUBJECT])


def test_segments_stand_in_for_contours_that_cannot_be_used(tmp_path: Path, ill: Phantom) -> None:
    uid = write_ct(tmp_path, SUBJECT, ill)
    write_rtstruct(structures_path(tmp_path, SUBJECT), contours(ill), series_uid="1.2.3", frame_uid=FRAME_UID)
    item = found("lung1", tmp_path)[SUBJECT]
    assert item == Missing(SUBJECT, "reference was drawn on series 1.2.3, which is not there")
    write_seg(seg_path(tmp_path), segments(ill), ill.image.geometry, series_uid=uid, frame_uid=FRAME_UID)
    check(ill, found("lung1", tmp_path)[SUBJECT])


def test_two_primary_tumours_are_one_mask(tmp_path: Path, ill: Phantom) -> None:
    assert ill.lesion is not None
    heights = np.flatnonzero(ill.lesion.array.any(axis=(1, 2)))
    upper, lower = ill.lesion.array == 1, ill.lesion.array == 1
    upper[: heights[len(heights) // 2]], lower[heights[len(heights) // 2] :] = False, False
    uid = write_ct(tmp_path, SUBJECT, ill)
    tumours = {f"GTV-{n}": outlines(part, ill.image.geometry) for n, part in ((1, upper), (2, lower))}
    write_rtstruct(structures_path(tmp_path, SUBJECT), tumours, series_uid=uid, frame_uid=FRAME_UID)
    result = masks(found("lung1", tmp_path)[SUBJECT])
    assert list(result) == ["tumour"]
    np.testing.assert_array_equal(result["tumour"].array, ill.lesion.array)


def test_lungs_drawn_as_one_are_parted(tmp_path: Path, ill: Phantom) -> None:
    uid = write_ct(tmp_path, SUBJECT, ill)
    whole = {"Lungs-Total": outlines(ill.lungs.array > 0, ill.image.geometry)}
    write_rtstruct(structures_path(tmp_path, SUBJECT), whole, series_uid=uid, frame_uid=FRAME_UID)
    result = masks(found("lung1", tmp_path)[SUBJECT])["lungs"].array
    assert (result == ill.lungs.array).mean() > 0.999
    np.testing.assert_array_equal(result > 0, ill.lungs.array > 0)


def test_a_subject_without_tumour_and_lungs_is_missing(tmp_path: Path, ill: Phantom) -> None:
    uid = write_ct(tmp_path, "LUNG1-128", ill)
    pre_op = {"gtv-pre-op": contours(ill)["GTV-1"]}
    write_rtstruct(structures_path(tmp_path, "LUNG1-128"), pre_op, series_uid=uid, frame_uid=FRAME_UID)
    write_ct(tmp_path, "LUNG1-129", ill)
    items = found("lung1", tmp_path)
    first, second = items["LUNG1-128"], items["LUNG1-129"]
    assert isinstance(first, Missing) and "got neither" in first.reason
    assert second == Missing("LUNG1-129", "has neither an RTSTRUCT nor a SEG")


def test_segments_in_another_frame_of_reference_are_refused(tmp_path: Path, ill: Phantom) -> None:
    uid = write_ct(tmp_path, SUBJECT, ill)
    write_seg(seg_path(tmp_path), segments(ill), ill.image.geometry, series_uid=uid, frame_uid="1.2.3")
    item = found("lung1", tmp_path)[SUBJECT]
    assert isinstance(item, Missing) and "frame of reference 1.2.3" in item.reason


def test_fractional_segments_are_refused(tmp_path: Path, ill: Phantom) -> None:
    uid = write_ct(tmp_path, SUBJECT, ill)
    how = {"series_uid": uid, "frame_uid": FRAME_UID, "kind": "FRACTIONAL"}
    write_seg(seg_path(tmp_path), segments(ill), ill.image.geometry, **how)
    item = found("lung1", tmp_path)[SUBJECT]
    assert isinstance(item, Missing) and "of type FRACTIONAL, expected SEG of type BINARY" in item.reason


class TestSegmentMasks:
    geometry = Geometry((0.9, 1.1, 2.5), (-20.0, 5.0, 7.0), (0.8, 0.0, 0.6, 0.0, 1.0, 0.0, -0.6, 0.0, 0.8))
    mask = np.random.default_rng(0).random((5, 9, 11)) > 0.6

    def write(self, path: Path, shift_mm: float = 0.0) -> Path:
        how = {"series_uid": "1.2", "frame_uid": "1.3"}
        return write_seg(path, {("a", "b"): self.mask}, self.geometry, shift_mm=shift_mm, **how)

    def test_frames_fill_the_same_places_of_a_grid_that_is_stored_otherwise(self, tmp_path: Path) -> None:
        expected = Volume(self.mask.astype(np.uint8), self.geometry)
        turned = expected.to_lps()
        affine = turned.geometry.affine[:, [1, 2, 0, 3]]
        stored = Volume(np.transpose(turned.array, (2, 0, 1)), Geometry.from_affine(affine))
        masks = segment_masks(self.write(tmp_path / "a.dcm"), stored.geometry, stored.array.shape)
        np.testing.assert_array_equal(masks[1], stored.array.astype(bool))

    def test_frames_between_the_voxels_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"a\.dcm: its frames do not lie on the image's grid"):
            segment_masks(self.write(tmp_path / "a.dcm", 0.4), self.geometry, self.mask.shape)

    def test_frames_beyond_the_image_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"a\.dcm: a frame lies outside the image"):
            segment_masks(self.write(tmp_path / "a.dcm"), self.geometry, (3, 9, 11))

    def test_a_torn_file_is_refused_by_name(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.dcm")
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(ValueError, match=r"a\.dcm: damaged DICOM SEG"):
            segment_masks(path, self.geometry, self.mask.shape)
