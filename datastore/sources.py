"""Which CT volumes lie under a path: image files, and the DICOM series of each folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datastore import dicom, image_files
from datastore.atomic import sha256_of
from datastore.dicom import Rejected, Series
from datastore.records import NewCase, Source
from datastore.volume import Volume


@dataclass(frozen=True)
class Found:
    """A CT volume that was found, not read yet.

    Attributes:
        source: Where it lies.
        name: A name for its output, relative to where the search began, without a suffix; unique there.
        series: Its slices, for DICOM.
    """

    source: Source
    name: Path
    series: Series | None = None

    def __str__(self) -> str:
        return str(self.source.path)

    def read(self) -> Volume:
        """Its Hounsfield units; see `image_files.read_ct` for the errors."""
        if self.series is not None:
            return image_files.as_hounsfield_units(dicom.read_series(self.series), self.source.path)
        return image_files.read_ct(self.source.path)

    def _check_is_alone(self, uid: str) -> None:
        """Refuse one slice of a series as a case: `ingest *.dcm` means the series."""
        siblings, _ = dicom.find_series(self.source.path.parent)
        slices = next((len(item.slices) for item in siblings if item.uid == uid), 1)
        if slices > 1:
            raise ValueError(f"{self.source.path}: is one of the {slices} slices of a series: give the folder")

    def new_case(self) -> NewCase:
        """What the registry keeps of it. A DICOM series gives it from its headers, a file is read through.

        Raises:
            ValueError: If the file cannot be read, or is no CT.
        """
        if self.series is not None:
            series = self.series
            if self.source.path.is_file() and len(series.slices) == 1:
                self._check_is_alone(series.uid)
            return NewCase(self.source, series.shape, series.geometry, series.study_uid, series.description)
        volume = self.read()
        z, y, x = volume.array.shape
        return NewCase(self.source, (z, y, x), volume.geometry, sha256=sha256_of(self.source.path))


def find_sources(path: Path, progress: Callable[[], None] | None = None) -> tuple[list[Found], list[Rejected]]:
    """Every CT volume under a path.

    Args:
        path: A file, or a folder that is searched with all folders below it.
        progress: Called once for each file that was looked at.

    Returns:
        The volumes in the order of their paths, and the files and series that are none, with the reason.

    Raises:
        FileNotFoundError: If the path is not there.
        ValueError: If it is a file of an unknown kind.
    """
    path = Path(os.path.abspath(path))
    if not path.exists() and not path.is_symlink():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if path.is_file():
        return [_found_file(path)], []
    series, rejected = dicom.find_series(path, recursive=True, progress=progress)
    shared = [item.folder for item in series]
    found: list[Found] = []
    names: set[Path] = set()
    for item in series:
        name = _series_name(path, item, alone=shared.count(item.folder) == 1)
        names.add(name)
        found.append(Found(Source(item.folder, item.uid), name, item))
    for root, files in dicom.walk(path, [], recursive=True):
        for file in files:
            if image_files.suffix_of(Path(file)):
                name = (root / image_files.stem_of(Path(file))).relative_to(path)
                if name in names:  # scan.nrrd beside scan.nii.gz, or a DICOM folder `scan`
                    name = (root / file).relative_to(path)
                names.add(name)
                found.append(Found(Source(root / file), name))
    found.sort(key=lambda item: (str(item.source.path), item.source.series_uid or ""))
    return found, rejected


def _found_file(path: Path) -> Found:
    name = Path(image_files.stem_of(path))
    if image_files.suffix_of(path) or not dicom.is_dicom(path):
        image_files.check_is_known(path)
        return Found(Source(path), name)
    series = dicom.series_of_file(path)
    return Found(Source(path, series.uid), Path(path.stem), series)


def _series_name(top: Path, series: Series, *, alone: bool) -> Path:
    folder = series.folder.relative_to(top)
    name = folder if folder != Path() else Path(series.folder.name)
    return name if alone else name / series.uid
