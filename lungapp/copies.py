"""Copies of scans inside the project, under names that say nothing of the patient."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from datastore.atomic import TEMPORARY_PREFIX, fsync_folder
from datastore.found import Found
from datastore.image_files import DETACHED, read_volume, suffix_of
from datastore.metaimage import write_metaimage
from datastore.nrrd_files import write_nrrd
from datastore.records import NewCase, Source
from datastore.secret import ProjectSecret


def copied(item: Found, new: NewCase, folder: Path, secret: ProjectSecret) -> Source:
    """Copy a series below `folder`, unless that was done before.

    The files of a DICOM series are numbered in the order of its slices. A header with a separate raw file becomes
    one file. What DICOM headers say of the patient stays in the copies.

    Args:
        item: What was found.
        new: The case that it makes.
        folder: Where copies lie; one that has grown or changed since gets a folder of its own.
        secret: Of the project.

    Returns:
        Where the copy lies, and with it where the originals do.
    """
    source = item.source
    if item.series is not None:
        target = folder / secret.folder_name(source, "/".join(each.sop_uid for each in item.series.slices))
        names = tuple(f"{number:05d}.dcm" for number in range(1, len(source.files) + 1))
        if not target.exists():
            _fill(target, {name: source.path / original for name, original in zip(names, source.files, strict=True)})
        originals = {source.path / name for name in (*source.files, *source.copies)}
        elsewhere = sorted(str(path) for path in originals if path.parent != target)
        return Source(target, source.series_uid, names, copies=tuple(elsewhere))
    target = folder / secret.folder_name(source, new.sha256 or "")
    suffix = suffix_of(source.path)
    name = f"scan{ {'.mhd': '.mha', '.nhdr': '.nrrd'}.get(suffix, suffix) }"
    if not target.exists():
        _fill(target, {name: source.path})
    return Source(target / name, copies=(str(source.path),))


def _fill(target: Path, files: dict[str, Path]) -> None:
    """Make a folder with all its files, or none; they survive a power cut, so that the originals can be deleted."""
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name(f"{TEMPORARY_PREFIX}{target.name}")
    shutil.rmtree(building, ignore_errors=True)  # of a copy that was interrupted
    building.mkdir()
    try:
        for name, original in files.items():
            if suffix_of(original) in DETACHED:
                write = write_metaimage if suffix_of(original) == ".mhd" else write_nrrd
                write(read_volume(original), building / name)
            else:
                shutil.copyfile(original, building / name)
            with open(building / name, "rb") as file:
                os.fsync(file.fileno())
        fsync_folder(building)
        building.rename(target)
        fsync_folder(target.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)
