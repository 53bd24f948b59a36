"""Copies of scans inside the project, under names that say nothing of the patient."""

from __future__ import annotations

import shutil
from pathlib import Path

from datastore.atomic import TEMPORARY_PREFIX
from datastore.found import Found
from datastore.image_files import DETACHED, read_volume, suffix_of
from datastore.metaimage import write_metaimage
from datastore.nrrd_files import write_nrrd
from datastore.records import Source
from datastore.secret import ProjectSecret


def copied(item: Found, folder: Path, secret: ProjectSecret) -> Source:
    """Copy a series below `folder`, unless that was done before.

    The files of a DICOM series are numbered in the order of its slices. A header with a separate raw file becomes
    one file. What DICOM headers say of the patient stays in the copies.

    Returns:
        Where the copy lies.
    """
    target = folder / secret.folder_name(item.source)
    source = item.source
    if source.files:
        names = tuple(f"{number:05d}.dcm" for number in range(1, len(source.files) + 1))
        if not target.exists():
            _fill(target, {name: source.path / original for name, original in zip(names, source.files, strict=True)})
        return Source(target, source.series_uid, names)
    suffix = suffix_of(source.path)
    name = f"scan{ {'.mhd': '.mha', '.nhdr': '.nrrd'}.get(suffix, suffix or '.dcm') }"
    if not target.exists():
        _fill(target, {name: source.path})
    return Source(target / name, source.series_uid)


def _fill(target: Path, files: dict[str, Path]) -> None:
    """Make a folder with all its files, or none."""
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
        building.rename(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
