"""What is odd about a mask: volume, density, pieces, holes and places that a person should look at.

Nothing is refused here: an odd mask can be right (a removed lung, an effusion, lung bases in an abdominal scan).
Swapped sides and unknown labels are refused in `labels.py`. The codes, each for `right_lung` and `left_lung`:

| code | found | severity |
|---|---|---|
| `mask.empty` | nothing is drawn | review, or note if the image shows no lung |
| `mask.uncovered` | air like lung in the body that is not drawn | review |
| `mask.outside` | drawn in the air around the patient | review |
| `right_lung.missing` | one lung alone is drawn | review |
| `right_lung.volume` | too large, or too small for a whole lung | review |
| `right_lung.density` | mean HU that no lung has | review |
| `right_lung.gap` | slices without this lung between slices with it | review |
| `right_lung.pieces` | several pieces | note |
| `right_lung.specks` | pieces of a few voxels | note |
| `right_lung.stray` | a piece far from its lung or beyond the other lung | review |
| `right_lung.holes` | enclosed cavities | note, or review if one is large |
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cc3d
import fill_voids
import numpy as np
import scipy.ndimage as ndimage
from scipy.spatial import cKDTree

from datastore.labels import LUNGS, RIGHT_LUNG, Structure
from datastore.records import QualityFinding, Severity
from datastore.volume import Volume

# Both lungs hold 4.5 +- 1.3 l on CT (Cheng et al. 2019, Int J COPD 14:1657, n = 564; 4.1 +- 1.2 l in Cressoni et
# al. 2013, Crit Care 17:R93, n = 100), so one lung 2.5 +- 0.7 l; emphysema, or the other lung's removal, adds to it.
LARGEST_LUNG_ML = 6000.0
SMALLEST_LUNG_ML = 50.0  # a newborn's lung holds about this
CUT_MM = 10.0  # a lung that comes so close to the first or last slice may go on beyond the scan
HIGHEST_MEAN_HU = 100.0  # effusion and collapse, which belong to the lung, end near 70 HU; clotted blood below 100
LOWEST_MEAN_HU = -980.0  # air is -1000 HU, severe emphysema about -930 HU
PIECE_ML = 0.1  # smaller ones are specks
LUNG_PIECE_ML = 25.0  # what counts as a part of a lung (Hofmanninger et al. 2020, section II-E)
STRAY_MM = 30.0
HOLE_NOTED_ML = 0.01
HOLE_REVIEWED_ML = 1.0  # a nodule of 12 mm; vessels and airways leave many holes, but smaller ones
AROUND_HU = -950.0
AROUND_ML = 5.0
LUNG_LIKE_HU = (-930.0, -600.0)  # denser than the air of bowel and windpipe, lighter than fat
COARSE_MM = 4.0
LISTED = 5


@dataclass(frozen=True, eq=False)
class _Lung:
    """One lung as drawn, in the box around it.

    Attributes:
        value: Its number in the mask.
        code: `right_lung`; findings begin with it.
        box: (z, y, x) slices of the mask's grid.
        pieces: (z, y, x) numbers of connected pieces in the box, 0 elsewhere.
        order: Numbers of the pieces, largest first.
        ml: Volume of piece n at place n; place 0 is nothing.
        boxes: (z, y, x) slices within the box, of piece n at place n.
        centres: (n, 3) mean (z, y, x) index on the mask's grid, of piece n in row n.
        grid: (z, y, x) voxels of the whole mask.
        spacing_mm: (z, y, x).
        voxel_ml: Volume of a voxel.
    """

    value: int
    code: str
    box: tuple[slice, ...]
    pieces: np.ndarray
    order: tuple[int, ...]
    ml: np.ndarray
    boxes: Sequence[tuple[slice, ...]]
    centres: np.ndarray
    grid: tuple[int, ...]
    spacing_mm: tuple[float, float, float]
    voxel_ml: float

    @property
    def name(self) -> str:
        return self.code.replace("_", " ")

    @property
    def volume_ml(self) -> float:
        return float(self.ml.sum())

    def is_cut(self, box: tuple[slice, ...]) -> bool:
        """Whether what lies in a box of this lung's box may go on beyond the scan."""
        starts = [outer.start + inner.start for outer, inner in zip(self.box, box, strict=True)]
        after = [size - outer.start - inner.stop for size, outer, inner in zip(self.grid, self.box, box, strict=True)]
        return min(starts[0], after[0]) * self.spacing_mm[0] < CUT_MM or min(starts[1:] + after[1:]) == 0

    def finding(self, what: str, severity: Severity, text: str) -> QualityFinding:
        return QualityFinding(f"{self.code}.{what}", severity, f"{self.name}: {text}")


def examine(mask: Volume, image: Volume | None) -> tuple[QualityFinding, ...]:
    """What a person should know of a mask, or look at, before it trains anything.

    Args:
        mask: (z, y, x) uint8: 0 background, 1 right lung, 2 left lung.
        image: (z, y, x) int16 Hounsfield units on the same grid, or None if it cannot be had; then density and
            surroundings are not looked at.

    Returns:
        Findings, those of the whole mask first; empty for a mask with nothing odd.

    Raises:
        ValueError: If mask and image are not on one grid.
    """
    if image is not None:
        mask, image = mask.on_grid_of(image), image.to_lps()
    mask = mask.to_lps()
    lungs = [lung for structure in LUNGS if (lung := _lung(mask, structure)) is not None]
    if not lungs:
        return (_empty(mask, image),)
    findings = [] if image is None else [*_surroundings(mask, image, lungs)]
    for structure in LUNGS:
        if structure.value not in {lung.value for lung in lungs}:
            name, other = structure.name.replace("_", " "), lungs[0]
            text = f"{name}: nothing drawn beside {_amount(other.volume_ml)} of {other.name}, expected both lungs"
            findings.append(QualityFinding(f"{structure.name}.missing", Severity.REVIEW, text))
    for lung in lungs:
        is_cut = lung.is_cut(tuple(slice(0, size) for size in lung.pieces.shape))
        odd = [odd_volume(lung.code, lung.volume_ml, is_cut=is_cut)]
        if image is not None:
            odd.append(odd_density(lung.code, float(image.array[lung.box][lung.pieces > 0].mean())))
        findings += [finding for finding in odd if finding is not None]
        findings += _pieces(lung, next((other for other in lungs if other is not lung), None))
        findings += _holes(lung)
    return tuple(findings)


def odd_volume(structure: str, volume_ml: float, *, is_cut: bool) -> QualityFinding | None:
    """That a lung is larger than any, or too small for a whole one; None if it is neither.

    Args:
        structure: `right_lung` or `left_lung`.
        volume_ml: Its volume.
        is_cut: Whether it may go on beyond the scan: then it may be as small as it likes.
    """
    if volume_ml > LARGEST_LUNG_ML:
        expected = f"less than {_amount(LARGEST_LUNG_ML)}"
    elif not is_cut and volume_ml < SMALLEST_LUNG_ML:
        expected = f"more than {_amount(SMALLEST_LUNG_ML)}, or a lung cut by the end of the scan"
    else:
        return None
    text = f"{structure.replace('_', ' ')}: {_amount(volume_ml)}, expected {expected}"
    return QualityFinding(f"{structure}.volume", Severity.REVIEW, text)


def odd_density(structure: str, mean_hu: float) -> QualityFinding | None:
    """That the mean Hounsfield units of `right_lung` or `left_lung` are those of no lung; None if they may be."""
    if LOWEST_MEAN_HU <= mean_hu <= HIGHEST_MEAN_HU:
        return None
    text = (
        f"{structure.replace('_', ' ')}: mean {mean_hu:.0f} HU, expected {LOWEST_MEAN_HU:g} to {HIGHEST_MEAN_HU:g} HU"
    )
    return QualityFinding(f"{structure}.density", Severity.REVIEW, text)


def needs_review(findings: Iterable[QualityFinding]) -> bool:
    """Whether a reviewer has to look at the mask before it trains anything."""
    return any(finding.severity is not Severity.NOTE for finding in findings)


def to_plain(findings: Iterable[QualityFinding]) -> list[dict[str, str]]:
    """Findings as plain words, for JSON; `from_plain` gives the same findings back.

    >>> to_plain([QualityFinding("mask.empty", Severity.NOTE, "mask: nothing drawn")])
    [{'code': 'mask.empty', 'severity': 'note', 'text': 'mask: nothing drawn'}]
    """
    return [{"code": found.code, "severity": found.severity.value, "text": found.text} for found in findings]


def from_plain(plain: Iterable[Mapping[str, str]]) -> tuple[QualityFinding, ...]:
    """The findings that `to_plain` wrote."""
    return tuple(QualityFinding(found["code"], Severity(found["severity"]), found["text"]) for found in plain)


def _lung(mask: Volume, structure: Structure) -> _Lung | None:
    box = _box(mask.array == structure.value)
    if box is None:
        return None
    # by faces and edges: cc3d 4.1 reckons with too few pieces at 26 in a box of odd size, and raises
    pieces = cc3d.connected_components(mask.array[box] == structure.value, connectivity=18)
    statistics = cc3d.statistics(pieces)
    counts = statistics["voxel_counts"].astype(float)
    counts[0] = 0.0
    return _Lung(
        value=structure.value,
        code=structure.name,
        box=box,
        pieces=pieces,
        order=tuple(int(number) for number in np.argsort(-counts, kind="stable")[:-1]),
        ml=counts * mask.geometry.voxel_ml,
        boxes=statistics["bounding_boxes"],
        centres=statistics["centroids"] + [part.start for part in box],
        grid=mask.array.shape,
        spacing_mm=mask.spacing_zyx_mm,
        voxel_ml=mask.geometry.voxel_ml,
    )


def _box(inside: np.ndarray) -> tuple[slice, ...] | None:
    """The (z, y, x) slices around all that is inside, or None."""
    planes = inside.any(axis=0)
    lines = (inside.any(axis=(1, 2)), planes.any(axis=1), planes.any(axis=0))
    if not planes.any():
        return None
    return tuple(slice(int(line.argmax()), int(line.size - line[::-1].argmax())) for line in lines)


def _empty(mask: Volume, image: Volume | None) -> QualityFinding:
    if image is None:
        return QualityFinding("mask.empty", Severity.REVIEW, "mask: nothing drawn, expected a lung")
    found_ml = _uncovered_ml(mask, image)
    severity = Severity.NOTE if found_ml < LUNG_PIECE_ML else Severity.REVIEW
    looks = f"{_amount(found_ml)} of the image look like lung" if found_ml else "nothing in the image looks like lung"
    return QualityFinding("mask.empty", severity, f"mask: nothing drawn, {looks}")


def _surroundings(mask: Volume, image: Volume, lungs: list[_Lung]) -> Iterator[QualityFinding]:
    uncovered_ml = _uncovered_ml(mask, image)
    if uncovered_ml >= LUNG_PIECE_ML:
        text = (
            f"mask: {_amount(uncovered_ml)} that look like lung are not drawn, expected less than {LUNG_PIECE_ML:g} ml"
        )
        yield QualityFinding("mask.uncovered", Severity.REVIEW, text)
    around_ml = _around_ml(mask, image, lungs)
    if around_ml >= AROUND_ML:
        text = f"mask: {_amount(around_ml)} lie in the air around the patient, expected less than {AROUND_ML:g} ml"
        yield QualityFinding("mask.outside", Severity.REVIEW, text)


def _pieces(lung: _Lung, other: _Lung | None) -> Iterator[QualityFinding]:
    """Pieces beside the largest; a second one is no error, an effusion or a collapse can split a lung."""
    large = [number for number in lung.order if lung.ml[number] >= LUNG_PIECE_ML] or [lung.order[0]]
    yield from _gap(lung, [lung.boxes[number][0] for number in large])
    pieces = [number for number in lung.order[1:] if lung.ml[number] >= PIECE_ML]
    if pieces:
        volumes = _listed([_amount(lung.ml[number]) for number in (lung.order[0], *pieces)])
        yield lung.finding("pieces", Severity.NOTE, f"{len(pieces) + 1} pieces ({volumes}), expected one")
    specks = lung.order[1 + len(pieces) :]
    if specks:
        total = _amount(lung.ml[list(specks)].sum())
        yield lung.finding(
            "specks", Severity.NOTE, f"{_count(len(specks), 'speck')} below {PIECE_ML:g} ml ({total} together)"
        )
    strays = list(_strays(lung, other, large, pieces))
    if strays:
        text = f"{_listed(strays)}, expected within {STRAY_MM:g} mm of the lung and on its side"
        yield lung.finding("stray", Severity.REVIEW, text)


def _gap(lung: _Lung, spans: list[slice]) -> Iterator[QualityFinding]:
    """Slices that no large piece reaches, between large pieces: forgotten ones."""
    reached = np.zeros(lung.pieces.shape[0], bool)
    for span in spans:
        reached[span] = True
    inner = np.flatnonzero(reached)
    gap = int(inner[-1] - inner[0] + 1 - inner.size)
    if gap:
        text = f"nothing drawn on {_count(gap, 'slice')} ({gap * lung.spacing_mm[0]:.0f} mm) between its pieces"
        yield lung.finding("gap", Severity.REVIEW, text)


def _strays(lung: _Lung, other: _Lung | None, large: list[int], pieces: list[int]) -> Iterator[str]:
    """Words for each piece beyond the other lung's centre, or far from every other large piece.

    A piece that the end of the scan cuts may be joined to its lung beyond it: it is never far.
    """
    if not pieces:
        return
    trees = {number: cKDTree(_points(lung, number)) for number in large}
    for number in pieces:
        ml = _amount(lung.ml[number])
        if other is not None:
            beyond = lung.centres[number][2] - other.centres[other.order[0]][2]
            if beyond > 0 if lung.value == RIGHT_LUNG else beyond < 0:
                yield f"a piece of {ml} beyond the {other.name}"
                continue
        if lung.is_cut(lung.boxes[number]):
            continue
        points = _points(lung, number)
        distance_mm = min(
            float(tree.query(points, workers=1)[0].min()) for large, tree in trees.items() if large != number
        )
        if distance_mm > STRAY_MM:
            yield f"a piece of {ml} about {distance_mm:.0f} mm away"


def _points(lung: _Lung, number: int) -> np.ndarray:
    """(n, 3) places in mm of a piece's voxels, thinned to the coarse grid unless nothing would be left."""
    box = lung.boxes[number]
    steps = _steps(lung.spacing_mm)
    inside = lung.pieces[box][_every(steps)] == number
    if not inside.any():
        steps = (1, 1, 1)
        inside = lung.pieces[box] == number
    return (np.argwhere(inside) * steps + [part.start for part in box]) * lung.spacing_mm


def _holes(lung: _Lung) -> Iterator[QualityFinding]:
    """Cavities closed on all sides; tumours and vessels belong to the lung, so none is expected."""
    drawn = (lung.pieces > 0).view(np.uint8)
    filled, voxels = fill_voids.fill(drawn, return_fill_count=True)
    if voxels * lung.voxel_ml < HOLE_NOTED_ML:
        return
    holes_ml = np.bincount(cc3d.connected_components(filled != drawn, connectivity=6).ravel())[1:] * lung.voxel_ml
    largest = float(holes_ml.max())
    severity = Severity.REVIEW if largest >= HOLE_REVIEWED_ML else Severity.NOTE
    sizes = f"{_amount(holes_ml.sum())} together, the largest {_amount(largest)}"
    text = f"{_count(len(holes_ml), 'hole')} ({sizes}), expected none"
    yield lung.finding("holes", severity, text)


def _around_ml(mask: Volume, image: Volume, lungs: list[_Lung]) -> float:
    """How much is drawn in air that reaches the edge of its axial slice, in ml.

    Slice by slice, because in three dimensions the windpipe joins the air in the lungs to the air around.
    """
    voxels = 0
    for z in range(min(lung.box[0].start for lung in lungs), max(lung.box[0].stop for lung in lungs)):
        air = image.array[z] < AROUND_HU
        drawn = air & (mask.array[z] > 0)
        if not drawn.any():
            continue
        regions = cc3d.connected_components(air, connectivity=4)
        edge = np.concatenate((regions[0], regions[-1], regions[:, 0], regions[:, -1]))
        voxels += int(np.isin(regions[drawn], edge[edge > 0]).sum())
    return voxels * mask.geometry.voxel_ml


def _uncovered_ml(mask: Volume, image: Volume) -> float:
    """The largest coherent part of the body that looks like lung and is not drawn, in ml.

    Looked at on a coarse grid and opened there, so that a thin rim beside the mask does not count.
    """
    steps = _steps(image.spacing_zyx_mm)
    hu = image.array[_every(steps)]
    like = _body(hu) & (mask.array[_every(steps)] == 0) & (hu > LUNG_LIKE_HU[0]) & (hu < LUNG_LIKE_HU[1])
    pieces = cc3d.connected_components(ndimage.binary_opening(like), connectivity=6)
    return float(np.bincount(pieces.ravel())[1:].max(initial=0) * image.geometry.voxel_ml * np.prod(steps))


def _body(hu: np.ndarray) -> np.ndarray:
    """The patient without the table: the largest dense piece, its cavities filled slice by slice."""
    dense = ndimage.binary_opening(hu > -400)
    body = cc3d.largest_k(dense, k=1, connectivity=6) > 0
    for plane in body:
        plane[:] = ndimage.binary_fill_holes(plane)
    return body


def _steps(spacing_mm: tuple[float, float, float]) -> tuple[int, ...]:
    return tuple(max(1, round(COARSE_MM / step)) for step in spacing_mm)


def _every(steps: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(None, None, step) for step in steps)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _amount(ml: float) -> str:
    if ml >= 1000:
        return f"{ml / 1000:.1f} l"
    return f"{ml:.0f} ml" if ml >= 10 else f"{ml:.2g} ml"


def _listed(words: list[str]) -> str:
    rest = len(words) - LISTED
    return ", ".join(words[:LISTED]) + (f" and {rest} more" if rest > 0 else "")
