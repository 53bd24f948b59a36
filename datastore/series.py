"""DICOM series: the volume that the slices of one SeriesInstanceUID make, or why they make none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from datastore.geometry import Geometry
from datastore.records import NewExclusion, Source
from datastore.slices import Flaw, NotCTError, SeriesFacts, Slice, SliceError
from datastore.stacking import stack


@dataclass(frozen=True)
class Series:
    """A readable CT series, its slices sorted from one end to the other along their normal.

    Attributes:
        facts: What its files say of it.
        slices: Sorted along the slice normal.
        geometry: The grid of the volume that they make.
        copies: Files that hold a slice again.
    """

    facts: SeriesFacts
    slices: tuple[Slice, ...]
    geometry: Geometry
    copies: tuple[Path, ...] = ()

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return self.facts.uid

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) voxels."""
        return (len(self.slices), *self.slices[0].shape)

    @cached_property
    def source(self) -> Source:
        """Its deepest common folder, and its files in the order of the slices."""
        source = source_of(self.facts.uid, [(item.folder, item.name) for item in self.slices])
        return replace(source, copies=tuple(str(path) for path in self.copies))


@dataclass(frozen=True)
class Rejected:
    """A series or file that is not a CT volume.

    Attributes:
        path: The folder or file.
        reason: Why, in words, without a file's name.
        damaged: Whether it ought to be one: a CT series with a slice missing, a torn file. False for what
            simply is something else: a localizer, a report, an MR series.
        exclusion: What the registry notes of a series; None for a file that could belong to any.
    """

    path: Path
    reason: str
    damaged: bool
    exclusion: NewExclusion | None = None

    def __str__(self) -> str:
        which = f" (series ...{self.series_uid[-12:]})" if self.series_uid else ""
        return f"{self.path}: {self.reason}{which}"

    @property
    def series_uid(self) -> str | None:
        """Of the series, or None for a file that could belong to any."""
        return self.exclusion.source.series_uid if self.exclusion else None


def assemble(items: Sequence[Slice | Flaw]) -> Series:
    """The sorted series of what the files with one SeriesInstanceUID say, in whatever order they were found.

    A slice that several files hold is taken once: a whole file rather than a torn one, then from the folder that
    holds most of the series.

    Raises:
        NotCTError: If it is something else.
        SliceError: If it is no whole volume.
    """
    slices, flaws, copies = _without_copies(items)
    others = [flaw for flaw in flaws if flaw.is_other]
    if others and len(others) == len(slices) + len(flaws):
        raise NotCTError(others[0].reason)
    if others:
        what = f"{len(others)} of {len(slices) + len(flaws)} images are no CT slices: {others[0].reason}"
        raise SliceError(what, others[0].path)
    if flaws:
        raise SliceError(f"slice {_number(flaws[0], slices, flaws)} {flaws[0].reason}", flaws[0].path)
    patients = {item.facts.patient for item in slices} - {""}
    if len(patients) > 1:
        raise SliceError(f"images of {len(patients)} patients have one SeriesInstanceUID")
    ordered, distance_mm = stack(slices)
    first = ordered[0]
    rows, columns = np.array(first.orientation[:3]), np.array(first.orientation[3:])
    direction = np.stack([rows, columns, np.cross(rows, columns)], axis=1)
    row_distance, column_distance = first.spacing_mm
    try:
        geometry = Geometry(
            spacing_mm=(column_distance, row_distance, distance_mm),
            origin_mm=first.position_mm,
            direction=tuple(float(value) for value in direction.ravel()),
        )
    except ValueError as error:
        raise SliceError(str(error)) from error
    return Series(_common(ordered), tuple(ordered), geometry, tuple(item.path for item in copies))


def exclusion_of(items: Sequence[Slice | Flaw], reason: str) -> NewExclusion:
    """What the registry notes of a series that is no volume: all its files, and why.

    Args:
        items: What its files say; at least one.
        reason: Without the name of a file.
    """
    facts = _common(items)
    files = sorted({(item.folder, item.name) for item in items})
    return NewExclusion(
        source=source_of(facts.uid, files),
        reason=reason,
        study_uid=facts.study_uid or None,
        description=facts.description,
        slices=len({item.sop_uid for item in items}),
        patient=facts.patient,
    )


def source_of(uid: str, files: Sequence[tuple[str, str]]) -> Source:
    """Where some files of a series lie: their deepest common folder, and their names below it.

    Args:
        uid: SeriesInstanceUID.
        files: Folder and name of each; what comes twice is taken once.
    """
    folders = {folder for folder, _ in files}
    top = os.path.commonpath(folders)
    below = {folder: "" if folder == top else os.path.relpath(folder, top) + "/" for folder in folders}
    return Source(Path(top), uid, tuple(below[folder] + name for folder, name in dict.fromkeys(files)))


def _without_copies(items: Sequence[Slice | Flaw]) -> tuple[list[Slice], list[Flaw], list[Slice | Flaw]]:
    """Slices, flaws and copies, in an order that does not depend on which file was found first."""
    sizes = Counter(item.folder for item in items)

    def rank(item: Slice | Flaw) -> tuple[bool, int, str, str]:
        return isinstance(item, Flaw), -sizes[item.folder], item.folder, item.name

    known: dict[str, Slice | Flaw] = {}
    copies: list[Slice | Flaw] = []
    for item in sorted(items, key=rank):
        first = known.setdefault(item.sop_uid, item)
        if first is item:
            continue
        if isinstance(item, Slice) and isinstance(first, Slice) and _content(first) != _content(item):
            raise SliceError("two images have one SOP Instance UID but differ", item.path)
        if (item.folder, item.name) != (first.folder, first.name):
            copies.append(item)
    slices = [item for item in known.values() if isinstance(item, Slice)]
    flaws = [item for item in known.values() if isinstance(item, Flaw)]
    return slices, flaws, copies


def _content(item: Slice) -> tuple[object, ...]:
    """What copies of a slice must agree in."""
    return item.position_mm, item.orientation, item.spacing_mm, item.shape, item.rescale


def _common(items: Sequence[Slice | Flaw]) -> SeriesFacts:
    """What most of the files say of their series."""
    counts = Counter(item.facts for item in items)
    return min(counts, key=lambda facts: (-counts[facts], facts))


def _number(flaw: Flaw, slices: Sequence[Slice], flaws: Sequence[Flaw]) -> int:
    """The number of a damaged slice from 1: along the stack, or by file name where a position is not known."""
    everything: list[Slice | Flaw] = [*slices, *flaws]
    places = [item.position_mm for item in everything if item.position_mm is not None]
    if slices and len(places) == len(everything):
        orientation = slices[0].orientation
        normal = np.cross(orientation[:3], orientation[3:])
        heights = np.array(places) @ normal
        return int((heights < heights[len(slices) + flaws.index(flaw)]).sum()) + 1
    names = sorted((item.folder, item.name) for item in everything)
    return names.index((flaw.folder, flaw.name)) + 1
