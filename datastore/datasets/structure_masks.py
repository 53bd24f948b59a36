"""Lungs and tumour of a subject, from the structures of its RTSTRUCT or the segments of its SEG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datastore.datasets import dicom_seg, rtstruct
from datastore.datasets.lung_masks import lungs_of_sides, lungs_of_whole
from datastore.datasets.reference import LUNGS, TUMOUR, PartSides, ReadMasks
from datastore.datasets.rtstruct import PlacedContours, Structure, place_contours
from datastore.datasets.structure_names import Role, role_of
from datastore.datasets.tcia import CtSeries, Subject, check_frame_of_reference, ct_of
from datastore.records import QualityFinding, Severity
from datastore.volume import Volume


@dataclass(frozen=True, eq=False)
class Drawn:
    """The reference of a subject, checked against its CT but not filled yet.

    Attributes:
        ct: The CT that it was drawn on.
        roles: What it holds; one structure of each role, but any number of tumours.
        read_masks: As in `Reference`.
        notes: Slices without a contour between the ends of a structure, for a reviewer.
    """

    ct: CtSeries
    roles: frozenset[Role]
    read_masks: ReadMasks
    notes: tuple[QualityFinding, ...] = ()

    @property
    def has_both_lungs(self) -> bool:
        """Whether each lung has a structure of its own."""
        return {Role.RIGHT_LUNG, Role.LEFT_LUNG} <= self.roles


def drawn_structures(subject: Subject, path: Path, part_sides: PartSides) -> Drawn:
    """A subject's RTSTRUCT.

    Raises:
        ValueError: If it is damaged, names two structures of one lung, was drawn on a CT that is not there or in
            another frame of reference, or its contours do not fit the slices of that CT.
    """
    structures = rtstruct.read_structure_set(path)
    ct = ct_of(subject, structures.series_uids)
    drawn: list[tuple[Role, Structure]] = []
    notes: list[QualityFinding] = []
    for role, index in _with_roles((item.name,) for item in structures.structures):
        structure = structures.structures[index]
        check_frame_of_reference(structure.frame_of_reference, ct, structure.name)
        placed = place_contours(structure, ct.series.geometry, ct.series.shape)
        if placed.gaps:
            notes.append(_gap_note(placed))
        drawn.append((role, structure))

    def read_masks(image: Volume) -> dict[str, Volume]:
        z, y, x = image.array.shape
        placed = ((role, place_contours(item, image.geometry, (z, y, x)).mask()) for role, item in drawn)
        return _masks(placed, image, part_sides, path)

    return Drawn(ct, frozenset(role for role, _ in drawn), read_masks, tuple(notes))


def drawn_segments(subject: Subject, path: Path, part_sides: PartSides) -> Drawn:
    """A subject's SEG; see `drawn_structures` for the errors."""
    file = dicom_seg.read_segmentation_header(path)
    ct = ct_of(subject, file.series_uids)
    check_frame_of_reference(file.frame_of_reference, ct, path.name)
    roles = [(role, file.segments[index].number) for role, index in _with_roles(item.names for item in file.segments)]

    def read_masks(image: Volume) -> dict[str, Volume]:
        masks = dicom_seg.segment_masks(path, image.geometry, image.array.shape)
        empty = np.zeros(image.array.shape, bool)
        return _masks(((role, masks.get(number, empty)) for role, number in roles), image, part_sides, path)

    return Drawn(ct, frozenset(role for role, _ in roles), read_masks)


def _with_roles(all_names: Iterable[tuple[str, ...]]) -> Iterator[tuple[Role, int]]:
    """The role and index of each structure that is a lung or a tumour, by the first of its names that tells one."""
    seen: dict[Role, str] = {}
    for index, names in enumerate(all_names):
        role, name = next(((role, name) for name in names if (role := role_of(name)) is not None), (None, ""))
        if role is None or role in (Role.OUTSIDE, Role.BACKGROUND):
            continue
        if role in seen and role != Role.TUMOUR:
            raise ValueError(f"two structures are the {role.value}: {seen[role]} and {name}")
        seen[role] = name
        yield role, index


def _masks(
    structures: Iterator[tuple[Role, np.ndarray]], image: Volume, part_sides: PartSides, path: Path
) -> dict[str, Volume]:
    found: dict[Role, np.ndarray] = {}
    for role, mask in structures:
        found[role] = found[role] | mask if role in found else mask
    try:
        return _lungs_and_tumour(found, image, part_sides)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _lungs_and_tumour(found: dict[Role, np.ndarray], image: Volume, part_sides: PartSides) -> dict[str, Volume]:
    masks: dict[str, Volume] = {}
    if Role.RIGHT_LUNG in found and Role.LEFT_LUNG in found:
        masks[LUNGS] = lungs_of_sides(found[Role.RIGHT_LUNG], found[Role.LEFT_LUNG], image)
    elif Role.LUNGS in found:
        masks[LUNGS] = lungs_of_whole(found[Role.LUNGS], image, part_sides)
    if Role.TUMOUR in found:
        if not found[Role.TUMOUR].any():
            raise ValueError("the tumour is empty")
        masks[TUMOUR] = image.with_array(found[Role.TUMOUR].astype(np.uint8))
    return masks


def _gap_note(item: PlacedContours) -> QualityFinding:
    text = f"{item.name} has no contour on {len(item.gaps)} of {len(item.slices) + len(item.gaps)} slices"
    return QualityFinding("contour_gaps", Severity.REVIEW, text)
