"""Pictures of where a mask and its reference disagree most: a few axial slices over the lung and a coronal one.

Masks and image of one case are in memory at a time, and all that is kept of them is the pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from datastore.image_files import read_ct, read_mask
from datastore.volume import Volume
from infers.metrics import as_whole
from lungapp.slice_pictures import blocky, grey, outline, png, smooth

AXIAL_SLICES = 3
WIDTH, HEIGHT = 360, 320  # pixels of the largest slice
MARGIN_MM = 12.0  # shown around the two masks
REFERENCE_COLOUR, PREDICTION_COLOUR = (240, 228, 66), (86, 180, 233)  # all of them Okabe and Ito's
MISSED_COLOUR, FALSE_COLOUR, OTHER_COLOUR = (213, 94, 0), (0, 114, 178), (204, 121, 167)
GREYS, TINTS = 64, 32  # levels in a picture, and in what is tinted: with two outlines they fit a palette
TINT, TINTED = 0.65, (40, 190)  # how much of a tint covers the grey, and which greys: the tint looks alike on all
LUNG_GREY, OTHER_GREY = 70, 30  # of the shapes where there is no image
REFERENCE_AT = GREYS + 3 * TINTS
OUTLINE, DASH = 2, 6  # pixels


@dataclass(frozen=True)
class SlicePicture:
    """One slice.

    Attributes:
        png: The PNG's bytes; the patient's right is on the left.
        caption: Which slice it is and how much of it disagrees.
        width: In pixels.
        height: In pixels.
    """

    png: bytes
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class CasePictures:
    """The slices of one case of one model.

    Attributes:
        slices: Axial from the top down, then coronal; empty if a mask cannot be read any more, or nothing disagrees.
        notes: What is missing and why.
    """

    slices: tuple[SlicePicture, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Disagreement:
    """Where two masks disagree.

    Attributes:
        by_z: (z,) voxels in each axial slice.
        by_y: (y,) voxels in each coronal slice.
        box: Slices of (z, y, x) around both masks.
    """

    by_z: np.ndarray
    by_y: np.ndarray
    box: tuple[slice, slice, slice]


def case_pictures(reference: Path, prediction: Path, image: Path | None, *, whole: bool) -> CasePictures:
    """Read the files of a case and draw the slices that disagree most.

    Args:
        reference: Its reference mask.
        prediction: The mask that was judged.
        image: The CT, or None: shapes are drawn then.
        whole: Whether all labels count as one structure.

    Returns:
        The pictures; or a note where a file cannot be read, or lies on another grid.
    """
    try:
        truth = read_mask(reference)
        guess = read_mask(prediction).on_grid_of(truth)
    except (OSError, ValueError) as error:
        return CasePictures(notes=(f"no pictures: {_reason(error, reference, prediction)}",))
    if whole:
        truth, guess = as_whole(truth), as_whole(guess)
    found = _disagreement(truth.to_lps(), guess.to_lps())
    if found is None:
        return CasePictures(notes=("no pictures: the two masks are the same",))
    hu: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    if image is not None:
        try:
            scan = read_ct(image)
            truth.on_grid_of(scan)
            hu = scan.to_lps().array
        except (OSError, ValueError) as error:
            notes = (f"shapes only: {_reason(error, image)}",)
    return CasePictures(tuple(_pictures(truth.to_lps(), guess.to_lps(), hu, found)), notes)


def spread(counts: np.ndarray, number: int, gap: int) -> list[int]:
    """The slices with the largest counts that lie at least `gap` apart.

    Args:
        counts: (slices,) voxels that disagree in each.
        number: How many to choose at most.
        gap: In slices.

    Returns:
        Their indices, rising; slices without any disagreement are never among them.

    >>> spread(np.array([0, 8, 9, 7, 0, 3]), 2, 2)
    [2, 5]
    """
    left = counts.astype(np.int64)
    chosen: list[int] = []
    while len(chosen) < number and left.max(initial=0) > 0:
        best = int(left.argmax())
        chosen.append(best)
        left[max(0, best - gap + 1) : best + gap] = 0
    return sorted(chosen)


def _disagreement(truth: Volume, guess: Volume) -> _Disagreement | None:
    """Counted slice by slice: nothing as large as the masks is made. None where they are the same."""
    shape = truth.array.shape
    by_z = np.zeros(shape[0], np.int64)
    by_y = np.zeros(shape[1], np.int64)
    seen = [np.zeros(size, bool) for size in shape]
    for z, (right, judged) in enumerate(zip(truth.array, guess.array, strict=True)):
        differs = right != judged
        by_z[z] = np.count_nonzero(differs)
        by_y += np.count_nonzero(differs, axis=1)
        either = (right | judged) > 0
        seen[0][z] = either.any()
        seen[1] |= either.any(axis=1)
        seen[2] |= either.any(axis=0)
    if not by_z.any():
        return None
    box = []
    for along, step_mm in zip(seen, truth.spacing_zyx_mm, strict=True):
        places = np.flatnonzero(along)
        margin = round(MARGIN_MM / step_mm)
        box.append(slice(max(0, int(places[0]) - margin), min(len(along), int(places[-1]) + margin + 1)))
    return _Disagreement(by_z, by_y, (box[0], box[1], box[2]))


def _pictures(truth: Volume, guess: Volume, hu: np.ndarray | None, found: _Disagreement) -> list[SlicePicture]:
    z_box, y_box, x_box = found.box
    dz, dy, dx = truth.spacing_zyx_mm
    height_mm = max((y_box.stop - y_box.start) * dy, (z_box.stop - z_box.start) * dz)
    pixels_per_mm = min(WIDTH / ((x_box.stop - x_box.start) * dx), HEIGHT / height_mm)
    made = []
    for z in reversed(spread(found.by_z, AXIAL_SLICES, max(1, (z_box.stop - z_box.start) // 6))):
        name = f"Axial slice {z + 1} of {len(truth.array)} from below"
        made.append(_picture(truth, guess, hu, (z, y_box, x_box), (dy, dx), pixels_per_mm, name))
    y = int(found.by_y.argmax())
    name = f"Coronal slice {y + 1} of {truth.array.shape[1]} from the front"
    upside_down = slice(z_box.stop - 1, z_box.start - 1 if z_box.start else None, -1)
    made.append(_picture(truth, guess, hu, (upside_down, y, x_box), (dz, dx), pixels_per_mm, name))
    return made


def _picture(
    truth: Volume,
    guess: Volume,
    hu: np.ndarray | None,
    where: tuple[slice | int, slice | int, slice],
    spacing_mm: tuple[float, float],
    pixels_per_mm: float,
    name: str,
) -> SlicePicture:
    right, judged = truth.array[where], guess.array[where]
    rows, columns = right.shape
    size = (
        max(1, round(columns * spacing_mm[1] * pixels_per_mm)),
        max(1, round(rows * spacing_mm[0] * pixels_per_mm)),
    )
    cm2 = spacing_mm[0] * spacing_mm[1] / 100
    amounts = [
        f"{np.count_nonzero(part) * cm2:.1f} cm² {word}"
        for part, word in zip(_parts(right, judged), ("missed", "false", "of another label"), strict=True)
        if part.any()
    ]
    if hu is None:
        either = np.where((right > 0) & (judged > 0), LUNG_GREY, OTHER_GREY).astype(np.uint8)
        base = blocky(either, size)
    else:
        base = smooth(grey(hu[where]), size)
    picture = _coloured(base, blocky(right, size), blocky(judged, size))
    return SlicePicture(png(picture), f"{name}: {', '.join(amounts)}", *size)


def _parts(right: np.ndarray, judged: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a reference is missed, where a mask is false, and where both are there with different labels."""
    return (
        (right > 0) & (judged == 0),
        (right == 0) & (judged > 0),
        (right > 0) & (judged > 0) & (right != judged),
    )


def _coloured(base: np.ndarray, right: np.ndarray, judged: np.ndarray) -> Image.Image:
    """A picture with a palette of our own: a third of the size of full colour."""
    level = base.astype(np.int64) * GREYS // 256
    indices = level.copy()
    for number, part in enumerate(_parts(right, judged)):
        indices[part] = GREYS + number * TINTS + level[part] * TINTS // GREYS
    y, x = np.indices(base.shape)
    is_dash = (x + y) // DASH % 2 == 0  # the prediction's outline lets the reference's through where they coincide
    for labels, index, shown in ((right, REFERENCE_AT, True), (judged, REFERENCE_AT + 1, is_dash)):
        for value in np.unique(labels[labels > 0]):
            indices[outline(labels == value, OUTLINE) & shown] = index
    picture = Image.fromarray(indices.astype(np.uint8), "P")
    picture.putpalette(_palette())
    return picture


def _palette() -> bytes:
    colours: list[Sequence[int]] = [(round(i * 255 / (GREYS - 1)),) * 3 for i in range(GREYS)]
    for tint in (MISSED_COLOUR, FALSE_COLOUR, OTHER_COLOUR):
        for i in range(TINTS):
            shade = TINTED[0] + i * (TINTED[1] - TINTED[0]) / (TINTS - 1)
            colours.append([round(TINT * part + (1 - TINT) * shade) for part in tint])
    colours += [REFERENCE_COLOUR, PREDICTION_COLOUR]
    return bytes(part for colour in colours for part in colour)


def _reason(error: Exception, *paths: Path) -> str:
    """What went wrong on one line, with the names of the files but not their folders."""
    text = str(error)
    for path in paths:
        text = text.replace(str(path), path.name)
    return " ".join(text.split())
