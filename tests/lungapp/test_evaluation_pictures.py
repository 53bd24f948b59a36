"""Pictures of where masks and references disagree."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datastore.geometry import Geometry
from datastore.nifti import write_nifti
from datastore.volume import Volume
from lungapp.evaluation.pictures import (
    FALSE_COLOUR,
    MISSED_COLOUR,
    OTHER_COLOUR,
    PREDICTION_COLOUR,
    REFERENCE_COLOUR,
    CasePictures,
    case_pictures,
    spread,
)

SHAPE = (20, 30, 40)
GEOMETRY = Geometry((2.0, 3.0, 5.0), (0.0, 0.0, 0.0))
Colour = tuple[int, int, int]


def truth() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:18, 8:22, 4:16] = 1
    mask[2:18, 8:22, 24:36] = 2
    return mask


def saved(array: np.ndarray, path: Path, geometry: Geometry = GEOMETRY) -> Path:
    write_nifti(Volume(array, geometry), path)
    return path


def pictures(
    folder: Path, guess: np.ndarray, hu: np.ndarray | None = None, *, whole: bool = False, geometry: Geometry = GEOMETRY
) -> CasePictures:
    return case_pictures(
        saved(truth(), folder / "reference.nii.gz"),
        saved(guess, folder / "prediction.nii.gz", geometry),
        None if hu is None else saved(hu, folder / "image.nii.gz"),
        whole=whole,
    )


def pixels(found: CasePictures, number: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(found.slices[number].png)).convert("RGB")).astype(int)


def share_like(picture: np.ndarray, colour: Colour) -> float:
    """Share of a picture's pixels that have a colour's hue, and are neither grey nor an outline."""
    wanted = np.array(colour, float) - np.mean(colour)
    found = picture - picture.mean(axis=2, keepdims=True)
    lengths = np.linalg.norm(found, axis=2)
    with np.errstate(invalid="ignore"):
        alike = (found @ wanted) / (lengths * np.linalg.norm(wanted)) > 0.99
    outlines = [(picture == outline).all(axis=2) for outline in (REFERENCE_COLOUR, PREDICTION_COLOUR)]
    return float((alike & (lengths > 20) & ~np.any(outlines, axis=0)).mean())


def test_missed_false_and_mislabelled_voxels_have_their_own_colours(tmp_path: Path) -> None:
    guess = truth()
    guess[:, 18:, 4:16] = 0
    guess[2:18, 22:26, 24:36] = 2
    guess[2:18, 8:12, 24:36] = 1
    picture = pixels(pictures(tmp_path, guess), 0)
    height, width = picture.shape[:2]
    upper, lower = picture[: height // 2], picture[height // 2 :]
    half = width // 2  # the patient's right is on the left
    assert share_like(lower[:, :half], MISSED_COLOUR) > 0.1
    assert share_like(upper[:, :half], MISSED_COLOUR) == 0
    assert share_like(lower[:, half:], FALSE_COLOUR) > 0.1
    assert share_like(upper, FALSE_COLOUR) == 0
    assert share_like(upper[:, half:], OTHER_COLOUR) > 0.1
    assert share_like(lower, OTHER_COLOUR) == 0


def test_both_outlines_are_seen_even_where_they_coincide(tmp_path: Path) -> None:
    guess = truth()
    guess[10, 12, 8] = 0
    picture = pixels(pictures(tmp_path, guess), 0)
    for colour in (REFERENCE_COLOUR, PREDICTION_COLOUR):
        assert (picture == colour).all(axis=2).mean() > 0.01


def test_the_slices_that_disagree_most_are_shown_from_the_top_down_then_a_coronal_one(tmp_path: Path) -> None:
    guess = truth()
    guess[16, 9:20, 5:15] = 0
    guess[10, 9:18, 5:15] = 0
    guess[9, 9:19, 5:15] = 0  # more than its neighbour
    guess[3, 9:12, 5:15] = 0
    captions = [item.caption for item in pictures(tmp_path, guess).slices]
    assert [caption.partition(" from")[0] for caption in captions] == [
        "Axial slice 17 of 20",
        "Axial slice 10 of 20",
        "Axial slice 4 of 20",
        "Coronal slice 10 of 30",
    ]
    assert captions[0].endswith(": 6.6 cm² missed")  # 110 voxels of 2 x 3 mm


def test_three_slices_are_spread_and_those_without_disagreement_left_out() -> None:
    counts = np.array([0, 5, 9, 8, 7, 0, 1, 0])
    assert spread(counts, 3, 3) == [2, 6]
    assert spread(counts, 3, 1) == [2, 3, 4]
    assert spread(np.zeros(4, int), 3, 1) == []


def test_where_only_one_slice_disagrees_only_that_one_is_shown(tmp_path: Path) -> None:
    guess = truth()
    guess[10, 9:18, 5:15] = 0
    assert len(pictures(tmp_path, guess).slices) == 2


def test_the_image_lies_under_the_colours_in_the_lung_window(tmp_path: Path) -> None:
    guess = truth()
    guess[10, 9:11, 5:15] = 0
    hu = np.where(truth() > 0, -1150, 350).astype(np.int16)
    picture = pixels(pictures(tmp_path, guess, hu), 0)
    assert (picture[0] == 255).all()
    assert (picture[picture.shape[0] // 2, 60] == 0).all()


def test_a_coronal_slice_has_the_head_at_the_top(tmp_path: Path) -> None:
    guess = truth()
    guess[14:18, 8:22, :] = 0
    picture = pixels(pictures(tmp_path, guess), -1)
    assert share_like(picture[: picture.shape[0] // 2], MISSED_COLOUR) > 0.05
    assert share_like(picture[picture.shape[0] // 2 :], MISSED_COLOUR) == 0


def test_pixels_are_square_millimetres_of_the_patient(tmp_path: Path) -> None:
    guess = truth()
    guess[10, 9:18, 5:15] = 0
    axial, coronal = pictures(tmp_path, guess).slices
    # x: 4..35 with a margin of 12 mm (6 voxels), cut at the edge: 0..39; y: 4..25; z: 0..19
    assert axial.width / axial.height == pytest.approx(40 * 2 / (22 * 3), rel=0.02)
    assert coronal.width / coronal.height == pytest.approx(40 * 2 / (20 * 5), rel=0.02)


def test_masks_stored_along_other_axes_give_the_same_pictures(tmp_path: Path) -> None:
    guess = truth()
    guess[12, 9:18, 5:15] = 0
    (tmp_path / "other").mkdir()
    straight = pictures(tmp_path, guess)
    turned = Geometry((2.0, 3.0, 5.0), (78.0, 87.0, 0.0), (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0))
    assert pictures(tmp_path / "other", guess[:, ::-1, ::-1], geometry=turned) == straight
    assert straight.slices


def test_labels_do_not_matter_where_the_whole_is_judged(tmp_path: Path) -> None:
    guess = np.where(truth() > 0, 1, 0).astype(np.uint8)
    assert pictures(tmp_path, guess, whole=True).notes == ("no pictures: the two masks are the same",)
    assert "of another label" in pictures(tmp_path, guess).slices[0].caption


def test_an_image_that_cannot_be_read_leaves_the_shapes_and_a_note_without_folders(tmp_path: Path) -> None:
    guess = truth()
    guess[10] = 0
    reference, prediction = (
        saved(mask, tmp_path / name) for mask, name in ((truth(), "r.nii.gz"), (guess, "p.nii.gz"))
    )
    (tmp_path / "torn.nii.gz").write_bytes(b"torn")
    for name in ("torn.nii.gz", "gone.nii.gz"):
        found = case_pictures(reference, prediction, tmp_path / name, whole=False)
        assert len(found.slices) == 2
        assert found.notes[0].startswith(f"shapes only: {name}: ")
        assert str(tmp_path) not in found.notes[0]


def test_an_image_on_another_grid_is_not_shown(tmp_path: Path) -> None:
    guess = truth()
    guess[10] = 0
    found = pictures(tmp_path, guess, np.full((20, 30, 41), -900, np.int16))
    assert found.notes == ("shapes only: mask grid (40, 30, 20) does not match image (41, 30, 20)",)


def test_a_mask_that_is_gone_leaves_a_note(tmp_path: Path) -> None:
    reference = saved(truth(), tmp_path / "r.nii.gz")
    found = case_pictures(reference, tmp_path / "gone.nii.gz", None, whole=False)
    assert found == CasePictures(notes=("no pictures: gone.nii.gz: no such file",))
