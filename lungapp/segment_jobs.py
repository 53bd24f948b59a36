"""Which scans lie under some paths, and which file each one's mask goes to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

from datastore import image_files
from datastore.image_files import WRITERS, suffix_of
from datastore.series import Rejected
from datastore.sources import Found, find_sources
from lungapp.segment_reports import is_own_mask

BYTES_PER_VOXEL = 3  # int16 Hounsfield units and a uint8 label


@dataclass(frozen=True)
class Job:
    """One scan and where its mask goes.

    Attributes:
        found: The scan.
        target: The mask's file.
        searched: Whether the scan was found in a folder, where a file that is no CT is passed over.
        named: Whether somebody named the mask's own file: then one that exists is an error, not work done before.
    """

    found: Found
    target: Path
    searched: bool
    named: bool = False

    @cached_property
    def held_bytes(self) -> int:
        """How much memory the scan and its mask will take; 0 if that cannot be told, as the scan cannot be read."""
        try:
            series, path = self.found.series, self.found.source.path
            shape = series.shape if series is not None else image_files.stored_shape(path)
        except (ValueError, OSError):
            return 0
        return prod(shape) * BYTES_PER_VOXEL


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
        jobs: In the order in which they are done.
        rejected: What was found but is no readable CT volume.
        folder: Where the masks go, with folders below it that mirror those of the input.
    """

    jobs: list[Job]
    rejected: list[Rejected]
    folder: Path


def plan(inputs: Sequence[Path], out: Path, suffix: str, step: Callable[[], None] | None = None) -> Plan:
    """Which scans there are, and a target for each.

    Args:
        inputs: Files and folders. Masks in a folder that were made by us are passed over: see `segment_reports`.
        out: A mask's file for a single scan, else a folder that mirrors the folders of the input.
        suffix: Format of masks in a folder.
        step: Called for each file that was looked at.

    Raises:
        ValueError: If `out` is a file but there are several scans, or two scans have one name.
    """
    scans: list[tuple[Found, bool]] = []
    rejected: list[Rejected] = []
    for path in inputs:
        try:
            found, others = find_sources(path, step, is_own_mask)
        except (ValueError, OSError) as error:
            reason = str(error).removeprefix(f"{os.path.abspath(path)}: ")
            rejected.append(Rejected(path, reason, damaged=True))
            continue
        if not found and not others:
            rejected.append(Rejected(path, "no CT found in it or below", damaged=True))
        scans += [(item, path.is_dir()) for item in found]
        rejected += others
    as_file = bool(suffix_of(out)) and not out.is_dir()
    is_meant_as_file = as_file or (bool(out.suffix) and not out.is_dir() and all(path.is_file() for path in inputs))
    if is_meant_as_file and suffix_of(out) not in WRITERS:
        raise ValueError(f"{out}: unknown mask format: expected a name ending with {' '.join(WRITERS)}")
    if as_file and len(scans) > 1:
        raise ValueError(f"{out}: is one file, but there are {len(scans)} scans: give a folder")
    if as_file:
        return Plan([Job(found, out, searched, named=True) for found, searched in scans], rejected, out.parent)
    names = _names([found for found, _ in scans])
    jobs = [Job(found, out / f"{name}{suffix}", searched) for (found, searched), name in zip(scans, names, strict=True)]
    return Plan(jobs, rejected, out)


def _names(scans: Sequence[Found]) -> list[Path]:
    """Output names; scans of one name (three folders with an `image.nii.gz`) get their folder in front."""
    names = [found.name for found in scans]
    if len(set(names)) == len(names):
        return names
    folders = [found.source.path.parent for found in scans]
    top = Path(os.path.commonpath(folders))
    twice = {name for name, count in Counter(names).items() if count > 1}
    spread = [
        folder.relative_to(top) / name.name if name in twice else name
        for folder, name in zip(folders, names, strict=True)
    ]
    again = [name for name, count in Counter(spread).items() if count > 1]
    if again:
        raise ValueError(f"several scans would be written to {again[0]}: give them one by one")
    return spread
