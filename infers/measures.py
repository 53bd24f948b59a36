"""What can be read off a mask and its scan: volumes, densities, and what a person should know before using them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from datastore.labels import LUNGS, Structure, are_swapped
from datastore.quality import CUT_MM, odd_density, odd_volume
from datastore.volume import Volume

SLICES_AT_ONCE = 8
FEW_SLICES = 10
THICK_MM = 5.0  # the thickest slices that are usual for a chest
LOWEST, HIGHEST = "lowest slice", "highest slice"
BORDERS = {  # of (z, y, x) along LPS
    "front border of the slices": np.s_[:, 0, :],
    "back border of the slices": np.s_[:, -1, :],
    "right border of the slices": np.s_[:, :, 0],
    "left border of the slices": np.s_[:, :, -1],
}


class State(StrEnum):
    """Whether there is anything in a mask."""

    LUNGS = "lungs found"
    ONE_LUNG = "one lung found"
    NO_LUNG = "no lung found"


@dataclass(frozen=True)
class StructureMeasure:
    """One structure in a scan.

    Attributes:
        name: `right_lung`, `left_lung`, or a lobe: `right_upper_lobe`.
        volume_ml: Its volume; 0 if it was not found.
        mean_hu: Mean Hounsfield units, or None if it was not found.
        slices: Its lowest and its highest slice, counted from 0 at the lowest; None if it was not found.
        touches: Where it reaches the end of the scan, in words: `lowest slice`, `left border of the slices`.
        centre_x: Mean index along x, which runs to the patient's left; None if it was not found.
    """

    name: str
    volume_ml: float
    mean_hu: float | None = None
    slices: tuple[int, int] | None = None
    touches: tuple[str, ...] = ()
    centre_x: float | None = None


def measure(volume: Volume, mask: Volume, structures: Sequence[Structure] = LUNGS) -> tuple[StructureMeasure, ...]:
    """Measure each structure, a few slices at a time: nothing as large as the scan is made.

    Args:
        volume: (z, y, x) int16 Hounsfield units.
        mask: (z, y, x) uint8 labels on the same grid.
        structures: What to measure.

    Returns:
        One measure for each structure, in their order.

    Raises:
        ValueError: If the shapes differ.
    """
    if mask.array.shape != volume.array.shape:
        raise ValueError(f"mask grid {mask.array.shape[::-1]} does not match image {volume.array.shape[::-1]}")
    hu, labels = volume.to_lps().array, mask.to_lps().array
    tallies = [_Tally(structure.value) for structure in structures]
    for start in range(0, len(labels), SLICES_AT_ONCE):
        some = slice(start, start + SLICES_AT_ONCE)
        for tally in tallies:
            tally.add(start, labels[some], hu[some])
    return tuple(
        tally.measure(structure.name, len(labels), mask.geometry.voxel_ml)
        for tally, structure in zip(tallies, structures, strict=True)
    )


def state_of(measures: Iterable[StructureMeasure]) -> State:
    """Whether both lungs, one or none were found, from the measures of lungs or of lobes."""
    return [State.NO_LUNG, State.ONE_LUNG, State.LUNGS][sum(lung.volume_ml > 0 for lung in _lungs(measures))]


def findings_of(
    measures: Iterable[StructureMeasure], shape: tuple[int, ...], spacing_mm: tuple[float, float, float]
) -> tuple[str, ...]:
    """What a person should know before using a mask, in words; empty if nothing is odd.

    What a lung's volume and density may be is what `datastore.quality` says of corrected masks.

    Args:
        measures: Of lungs or of lobes.
        shape: (z, y, x) voxels of the scan along LPS.
        spacing_mm: Of (z, y, x).
    """
    right, left = lungs = _lungs(measures)
    found = [lung for lung in lungs if lung.slices is not None]
    texts: list[str] = []
    if not found:
        texts.append(State.NO_LUNG.value)
    elif len(found) == 1:
        texts += [f"{_words(lung)} not found" for lung in lungs if lung not in found]
    if shape[0] < FEW_SLICES:
        texts.append(f"{shape[0]} slice{'' if shape[0] == 1 else 's'}, expected at least {FEW_SLICES}")
    if spacing_mm[0] > THICK_MM * 1.01:
        texts.append(f"slices are {spacing_mm[0]:.3g} mm apart, expected at most {THICK_MM:g} mm")
    for lung in found:
        texts += [f"{_words(lung)} touches the {where} (cut off)" for where in lung.touches]
    for lung in found:
        is_cut = bool(lung.touches) or _near_an_end(lung, shape[0], spacing_mm[0])
        odd = [odd_volume(lung.name, lung.volume_ml, is_cut=is_cut)]
        odd += [odd_density(lung.name, lung.mean_hu)] if lung.mean_hu is not None else []
        texts += [finding.text for finding in odd if finding is not None]
    if right.centre_x is not None and left.centre_x is not None and are_swapped(right.centre_x, left.centre_x):
        texts.append("right lung lies to the patient's left of the left lung (sides swapped?)")
    return tuple(texts)


class _Tally:
    """Counts one structure, some slices at a time."""

    def __init__(self, value: int) -> None:
        self._value = value
        self._voxels = self._hu_sum = 0
        self._columns: np.ndarray | int = 0
        self._lowest: int | None = None
        self._highest = 0
        self._borders: set[str] = set()

    def add(self, start: int, labels: np.ndarray, hu: np.ndarray) -> None:
        """Count what lies in some slices, of which `start` is the first."""
        inside = labels == self._value
        if not inside.any():
            return
        columns = inside.view(np.uint8).sum(axis=(0, 1), dtype=np.uint32)
        self._columns = self._columns + columns
        self._voxels += int(columns.sum())
        self._hu_sum += int(hu[inside].sum(dtype=np.int64))
        there = np.flatnonzero(inside.any(axis=(1, 2)))
        self._lowest = start + int(there[0]) if self._lowest is None else self._lowest
        self._highest = start + int(there[-1])
        self._borders.update(name for name, border in BORDERS.items() if inside[border].any())

    def measure(self, name: str, slices: int, voxel_ml: float) -> StructureMeasure:
        """What was counted, for a scan of so many slices."""
        if self._lowest is None:
            return StructureMeasure(name, 0.0)
        ends = [LOWEST] * (self._lowest == 0) + [HIGHEST] * (self._highest == slices - 1)
        return StructureMeasure(
            name,
            volume_ml=self._voxels * voxel_ml,
            mean_hu=self._hu_sum / self._voxels,
            slices=(self._lowest, self._highest),
            touches=(*ends, *(name for name in BORDERS if name in self._borders)),
            centre_x=float(np.average(np.arange(np.size(self._columns)), weights=self._columns)),
        )


def _lungs(measures: Iterable[StructureMeasure]) -> tuple[StructureMeasure, StructureMeasure]:
    """The right and the left lung, each made of the structures that are called so."""
    measures = list(measures)
    right, left = (
        _joined(f"{side}_lung", [item for item in measures if item.name.startswith(f"{side}_")])
        for side in ("right", "left")
    )
    return right, left


def _joined(name: str, parts: Sequence[StructureMeasure]) -> StructureMeasure:
    """Several structures as one."""
    slices = [part.slices for part in parts if part.slices is not None]
    if not slices:
        return StructureMeasure(name, 0.0)
    volume_ml = sum(part.volume_ml for part in parts)
    return StructureMeasure(
        name,
        volume_ml=volume_ml,
        mean_hu=sum((part.mean_hu or 0.0) * part.volume_ml for part in parts) / volume_ml,
        slices=(min(lowest for lowest, _ in slices), max(highest for _, highest in slices)),
        touches=tuple(where for where in (LOWEST, HIGHEST, *BORDERS) if any(where in part.touches for part in parts)),
        centre_x=sum((part.centre_x or 0.0) * part.volume_ml for part in parts) / volume_ml,
    )


def _near_an_end(lung: StructureMeasure, slices: int, slice_mm: float) -> bool:
    lowest, highest = lung.slices or (0, 0)
    return min(lowest, slices - 1 - highest) * slice_mm < CUT_MM


def _words(lung: StructureMeasure) -> str:
    return lung.name.replace("_", " ")
