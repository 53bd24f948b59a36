"""Subjects of a TCIA collection: a CT series and the DICOM file that its reference is in.

Layout: one folder for each subject, named by its id, and below it one for each study and series, however they are
called (`LCTSC-Train-S1-001/<date>-NA-.../<number>-NA-.../1-001.dcm` from the NBIA Data Retriever, or UIDs). Modality
and series are taken from the headers, so a flat folder is as good.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom

from datastore import dicom
from datastore.records import Source
from datastore.series import Series
from datastore.sources import find_sources
from datastore.walking import files_below, walk
from datastore.wording import first_line


@dataclass(frozen=True, eq=False)
class Subject:
    """What a subject's folder holds.

    Attributes:
        name: The subject's id.
        series: Its readable CT series.
        problems: Why other CT series are not readable, by UID.
        structure_sets: Its RTSTRUCT files.
        segmentations: Its SEG files.
    """

    name: str
    series: tuple[Series, ...]
    problems: dict[str, str]
    structure_sets: tuple[Path, ...]
    segmentations: tuple[Path, ...]


@dataclass(frozen=True, eq=False)
class CtSeries:
    """The CT series of a subject.

    Attributes:
        series: Its slices and grid.
        patient: PatientID, or "".
        frame_of_reference: UID of the patient space it is in, or "".
    """

    series: Series
    patient: str
    frame_of_reference: str

    @property
    def source(self) -> Source:
        """Where it lies."""
        return self.series.source


def subject_folders(folder: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """Each subject's id and folder below a folder, or that folder itself; sorted.

    Args:
        folder: Anything from the download's root to one subject's folder.
        pattern: What a subject's id fully matches, as a regular expression.

    Raises:
        ValueError: If there is none.
    """
    if re.fullmatch(pattern, folder.name):
        yield folder.name, folder
        return
    found = False
    for place, _ in walk(os.path.abspath(folder), lambda _: None):
        root = Path(place)
        inside = root.relative_to(folder).parts
        if inside and re.fullmatch(pattern, inside[-1]) and not any(re.fullmatch(pattern, p) for p in inside[:-1]):
            found = True
            yield root.name, root
    if not found:
        raise ValueError(f"{folder}: no folder of a subject below it: expected names like {pattern}")


def read_subject(name: str, folder: Path) -> Subject:
    """What a subject's folder holds, from headers alone."""
    found, rejected = find_sources(folder)
    series = [item.series for item in found if item.series is not None]
    problems = {item.series_uid or str(item.path): item.reason for item in rejected if item.damaged}
    by_modality: dict[str, list[Path]] = {"RTSTRUCT": [], "SEG": []}
    for path in files_below(folder):
        by_modality.get(_modality(path), []).append(path)
    return Subject(name, tuple(series), problems, tuple(by_modality["RTSTRUCT"]), tuple(by_modality["SEG"]))


def _modality(path: Path) -> str:
    try:
        if not dicom.is_dicom(path):
            return ""
        return str(pydicom.dcmread(path, specific_tags=["Modality"], stop_before_pixels=True).get("Modality", ""))
    except Exception:  # pydicom raises about anything on damaged bytes; `problems` tells of a damaged CT
        return ""


def ct_of(subject: Subject, series_uids: frozenset[str]) -> CtSeries:
    """The CT series that a reference was drawn on.

    Args:
        subject: The subject.
        series_uids: The series that the reference names; empty if it names none, then the only one is taken.

    Raises:
        ValueError: If it is not there, damaged, or not the only one.
    """
    named = [item for item in subject.series if item.uid in series_uids] if series_uids else list(subject.series)
    for uid, reason in subject.problems.items():
        if not named and (uid in series_uids or not subject.series):
            raise ValueError(f"CT series is not readable: {reason}")
    if not named and subject.series:
        raise ValueError(f"reference was drawn on series {min(series_uids)}, which is not there")
    if len(named) != 1:
        raise ValueError(f"expected one CT series, got {len(named)}")
    series = named[0]
    path = series.slices[0].path
    try:
        tags = ["PatientID", "FrameOfReferenceUID"]
        header = pydicom.dcmread(path, specific_tags=tags, stop_before_pixels=True)
        return CtSeries(series, str(header.get("PatientID") or ""), str(header.get("FrameOfReferenceUID") or ""))
    except OSError:
        raise
    except Exception as error:  # pydicom raises about anything on damaged bytes
        raise ValueError(f"{path}: damaged DICOM: {first_line(error)}") from error


def check_frame_of_reference(reference: str, ct: CtSeries, name: str) -> None:
    """Refuse a reference in another patient space than its CT; one that names none passes.

    Raises:
        ValueError: If both name one and they differ.
    """
    if reference and ct.frame_of_reference and reference != ct.frame_of_reference:
        raise ValueError(f"{name} is in frame of reference {reference}, the CT in {ct.frame_of_reference}")
