"""Segmenting files without a project: which scan goes where, and one result for each."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datastore.image_files import WRITERS, NotHounsfieldError, suffix_of, write_mask
from datastore.labels import LUNGS
from datastore.series import Rejected
from datastore.sources import Found, find_sources
from infers.models import Model
from infers.segment import segment

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One scan and where its mask goes.

    Attributes:
        found: The scan.
        target: The mask's file.
        searched: Whether the scan was found in a folder, where a file that is no CT is passed over.
    """

    found: Found
    target: Path
    searched: bool


@dataclass(frozen=True)
class Result:
    """What came of one scan.

    Attributes:
        source: The scan.
        target: The mask, or None.
        volumes_ml: Volume of each lung in ml by its name.
        seconds: From reading to the written mask.
        model: Version of the model.
        error: Why there is no mask, or None.
        skipped: Why the file was passed over, or None.
    """

    source: str
    model: str
    seconds: float
    target: Path | None = None
    volumes_ml: dict[str, float] | None = None
    error: str | None = None
    skipped: str | None = None

    def line(self) -> str:
        """For a person."""
        if self.error is not None:
            return f"failed  {self.error}"
        if self.skipped is not None:
            return f"skipped  {self.skipped}"
        volumes = self.volumes_ml or {}
        found = ", ".join(f"{name} {volume_ml:.0f} ml" for name, volume_ml in volumes.items())
        what = found if any(volumes.values()) else "no lung found"
        return f"{self.source} -> {self.target}  {what}  {self.seconds:.1f} s"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "input": self.source,
            "output": str(self.target) if self.target else None,
            "model": self.model,
            "seconds": round(self.seconds, 3),
            "volumes_ml": self.volumes_ml,
            "error": self.error,
            "skipped": self.skipped,
        }


def plan(inputs: Sequence[Path], out: Path, suffix: str) -> tuple[list[Job], list[Rejected]]:
    """Which scans there are, and a target for each.

    Args:
        inputs: Files and folders.
        out: A mask's file for a single scan, else a folder that mirrors the folders of the input.
        suffix: Format of masks in a folder.

    Returns:
        The jobs, and what was found but is no readable CT volume.

    Raises:
        ValueError: If `out` is a file but there are several scans, or two scans have one name.
    """
    scans: list[tuple[Found, bool]] = []
    rejected: list[Rejected] = []
    for path in inputs:
        try:
            found, others = find_sources(path)
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
        return [Job(found, out, searched) for found, searched in scans], rejected
    names = _names([found for found, _ in scans])
    jobs = [Job(found, out / f"{name}{suffix}", searched) for (found, searched), name in zip(scans, names, strict=True)]
    return jobs, rejected


def segment_all(jobs: Sequence[Job], model: Model, *, overwrite: bool = False) -> Iterator[Result]:
    """Segment each scan in turn; one that fails does not stop the others."""
    scans = {os.path.realpath(job.found.source.path) for job in jobs}
    for job in jobs:
        start = time.perf_counter()
        source = str(job.found)
        try:
            if job.target.exists() and not overwrite and job.searched:
                kept = f"{source}: {job.target} exists already"
                yield Result(source, model.version, 0.0, target=job.target, skipped=kept)
                continue
            if job.target.exists() and not overwrite:
                raise FileExistsError(f"{job.target}: exists already; --overwrite replaces it")
            if os.path.realpath(job.target) in scans or _same_file(job.target, job.found.source.path):
                raise ValueError(f"{job.target}: the mask would replace the scan")
            mask = segment(job.found.read(), model)
            job.target.parent.mkdir(parents=True, exist_ok=True)
            write_mask(mask, job.target, overwrite=overwrite)
        except Exception as error:  # one scan that fails does not stop the others
            logger.info("%s", source, exc_info=True)
            reason = " ".join(str(error).split()) or type(error).__name__
            passed_over = job.searched and isinstance(error, NotHounsfieldError)
            seconds = time.perf_counter() - start
            if passed_over:
                yield Result(source, model.version, seconds, skipped=reason)
            else:
                yield Result(source, model.version, seconds, error=reason)
            continue
        counts = np.bincount(mask.array.ravel(), minlength=len(LUNGS) + 1)
        volumes_ml = {item.name: round(float(counts[item.value]) * mask.geometry.voxel_ml, 2) for item in LUNGS}
        yield Result(source, model.version, time.perf_counter() - start, job.target, volumes_ml)


def _same_file(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and os.path.samefile(one, other)


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
