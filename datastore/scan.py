"""Searching folders for CT: millions of files, headers only, results while the search goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datastore import dicom, image_files
from datastore.found import Found
from datastore.grouping import Limits, SeriesGroups, series_or_reason
from datastore.records import Source
from datastore.series import Rejected, Series
from datastore.slices import Flaw, Slice
from datastore.walking import walk


@dataclass
class Tally:
    """How far a search has come.

    Attributes:
        files: Files looked at.
        known: How many of them are known already and were not opened.
        found: Volumes found.
    """

    files: int = 0
    known: int = 0
    found: int = 0


def nothing(_path: Path) -> bool:
    """What is known where nothing is."""
    return False


def scan(
    paths: Iterable[Path],
    *,
    known: Callable[[Path], bool] = nothing,
    patient_of: Callable[[str], str] = dicom.nobody,
    progress: Callable[[Tally], None] | None = None,
    limits: Limits | None = None,
) -> Iterator[Found | Rejected]:
    """Every CT volume under some paths, while they are still being searched.

    Files of one SeriesInstanceUID are one series, in whatever folders they lie. One that turns up again after it
    was given, or was known in part, is given again with its new files only: see `scan_again`.

    Args:
        paths: Files, and folders that are searched with all folders below them.
        known: Whether a file is registered and has not changed since; such a file is not opened.
        patient_of: Makes the key of a patient from a PatientID, which is not kept.
        progress: Called after each file that was looked at.
        limits: When a series counts as complete before the search has ended.

    Yields:
        Volumes, and the files and series that are none, with the reason. The order is that of the search and the
        same each time.
    """
    tally = Tally()
    groups = SeriesGroups(patient_of, limits or Limits())
    given: set[str] = set()
    waiting: list[Rejected] = []

    def refused(error: OSError) -> None:
        waiting.append(Rejected(Path(str(error.filename)), f"cannot be read: {error.strerror}", damaged=True))

    for folder, names, is_named in _folders(paths, refused):
        for name in names:
            found = _look(folder, name, groups, known, tally, is_named=is_named)
            if is_named:
                given.add(f"{folder}/{name}")
            if found is not None:
                tally.found += isinstance(found, Found)
                yield found
            for item in groups.complete():
                yield _result(item, given, tally)
            tally.files += 1
            if progress is not None:
                progress(tally)
        groups.end_folder()
        while waiting:
            yield waiting.pop(0)
    yield from waiting
    for item in groups.rest():
        yield _result(item, given, tally)


def scan_again(sources: Sequence[Source], patient_of: Callable[[str], str] = dicom.nobody) -> Found | Rejected:
    """One series whose files were found in several parts, from the headers of all of them.

    Args:
        sources: Where its parts lie, with their files; at least one file in all. Files that are gone count no more.
        patient_of: As for `scan`.

    Raises:
        ValueError: If no file of it is left.
    """
    items: list[Slice | Flaw] = []
    for path in dict.fromkeys(source.path / name for source in sources for name in (*source.files, *source.copies)):
        try:
            said = dicom.slices_in(path, patient_of)
        except (OSError, ValueError):  # gone or torn meanwhile, which a scan reports by itself
            continue
        items += [item for item in said if item.facts.uid == sources[0].series_uid]
    if not items:
        raise ValueError(f"series {sources[0].series_uid}: none of its files is left")
    result = series_or_reason(items)
    return Found(result.source, series=result) if isinstance(result, Series) else result


def _folders(paths: Iterable[Path], refused: Callable[[OSError], None]) -> Iterator[tuple[str, list[str], bool]]:
    """Folders, the names of files in them, and whether these were named one by one; no file comes twice."""
    everything = list(dict.fromkeys(Path(os.path.abspath(path)) for path in paths))
    tops = {path for path in everything if path.is_dir()}
    for path in everything:
        if not tops.isdisjoint(path.parents):
            continue
        if path in tops:
            for folder, names in walk(str(path), refused):
                yield folder, names, False
        else:
            yield str(path.parent), [path.name], True


def _look(
    folder: str, name: str, groups: SeriesGroups, known: Callable[[Path], bool], tally: Tally, *, is_named: bool
) -> Found | Rejected | None:
    """An image file, or why a file is nothing; None if it belongs to a series, or does not matter."""
    if dicom.is_index(name) and not is_named:
        return None
    path = Path(folder, name)
    if known(path):
        tally.known += 1
        return None
    if is_named:
        try:
            image_files.check_is_known(path)
        except (OSError, ValueError) as error:
            return Rejected(path, str(error).removeprefix(f"{path}: "), damaged=True)
    if image_files.is_image_name(name):
        return Found(Source(path))
    return groups.offer(folder, name)


def _result(item: Series | Rejected, given: set[str], tally: Tally) -> Found | Rejected:
    if isinstance(item, Rejected):
        return item
    tally.found += 1
    is_given = bool(given) and all(f"{each.folder}/{each.name}" in given for each in item.slices)
    return Found(item.source, series=item, given=is_given)
