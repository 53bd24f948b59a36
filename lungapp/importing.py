"""Public data sets as cases with accepted reference masks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datastore import dicom
from datastore.datasets import LUNGS, Missing, Reference, references
from datastore.found import Found
from datastore.image_files import read_ct
from datastore.quality import examine, needs_review
from datastore.records import Case, Kind, NewCase, NewLabel, QualityFinding
from datastore.registry import LOCAL, Registry
from datastore.slices import NO_PATIENT
from datastore.volume import Volume
from datastore.wording import raised_at
from infers.sides import separate_sides
from lungapp.listing import case_dict

logger = logging.getLogger(__name__)


@dataclass
class ImportReport:
    """What an import did.

    Attributes:
        added: New cases.
        known: How many cases were there already.
        masks: How many reference masks were stored.
        doubtful: Case and what the quality checks found in its reference, which waits for a reviewer.
        failed: What could not be imported, with the reason.
    """

    added: list[Case] = field(default_factory=list)
    known: int = 0
    masks: int = 0
    doubtful: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "added": [case_dict(case) for case in self.added],
            "known": self.known,
            "masks": self.masks,
            "doubtful": self.doubtful,
            "failed": self.failed,
        }


def import_dataset(
    registry: Registry,
    dataset: str,
    folders: Sequence[Path],
    step: Callable[[], None],
    tags: tuple[str, ...] = (),
    by: str = LOCAL,
) -> ImportReport:
    """Register the cases of a public data set with their reference masks; one that fails does not stop the others.

    The selection rules do not hold for them: somebody selected them. A second import adds nothing.

    Args:
        registry: Where they go.
        dataset: A name in `datastore.datasets.DATASETS`.
        folders: Where it was unpacked.
        step: Called once for each case.
        tags: For the cases, besides those of the data set.
        by: Who imports.

    Raises:
        ValueError: If there is no such data set, or nothing of it in a folder.
        FileNotFoundError: If a folder is not there.
    """
    report = ImportReport()
    for folder in folders:
        for item in references(dataset, folder, part_sides):
            if isinstance(item, Missing):
                report.failed.append(f"{item.name}: {item.reason}")
            else:
                try:
                    _take(registry, item, tags, by, report)
                except Exception as error:  # one case that fails does not stop the others
                    logger.info("a case could not be imported: %s", raised_at(error))
                    report.failed.append(f"{item.name}: {' '.join(str(error).split()) or type(error).__name__}")
            step()
    return report


def part_sides(image: Volume, whole: Volume) -> Volume:
    """A mask of both lungs in one, parted into 1 right and 2 left."""
    upright = whole.to_lps()
    sides = separate_sides(upright.array > 0, upright.spacing_zyx_mm, image.to_lps().array)
    return whole.with_lps_array(sides)


def _take(registry: Registry, item: Reference, tags: tuple[str, ...], by: str, report: ImportReport) -> None:
    new = replace(_new_case(item), patient=_patient_key(registry, item), cohort=item.cohort, tags=(*item.tags, *tags))
    case, is_new = registry.add_case(new, by)
    report.known += not is_new
    if is_new:
        report.added.append(case)
    known = {(label.author, label.target) for label in registry.labels(case.id)}
    image = read_ct(case.source)
    for target, mask in item.read_masks(image).items():
        if (item.author, target) in known:
            continue
        found: tuple[QualityFinding, ...] = examine(mask, image) if target == LUNGS else ()
        findings = (*item.notes, *found)
        kind = Kind.SUBMITTED if needs_review(findings) else Kind.ACCEPTED
        if kind is Kind.SUBMITTED:
            report.doubtful.append(f"{case.id}  {next(item.text for item in findings if needs_review((item,)))}")
        registry.add_label(
            case,
            mask,
            NewLabel(kind, author=item.author, tool=f"import {item.cohort}", target=target, findings=findings),
        )
        report.masks += 1


def _patient_key(registry: Registry, item: Reference) -> str:
    """The key of a case's patient; of a DICOM series, which an ingest may have found, the one that this gives."""
    if item.patient.lower() in NO_PATIENT:
        return ""
    is_dicom = item.source.series_uid is not None
    return registry.secret.patient_key(item.patient if is_dicom else f"{item.cohort}/{item.patient}")


def _new_case(item: Reference) -> NewCase:
    """The image of a reference, as a search would find it."""
    if item.source.series_uid is None:
        return Found(item.source).new_case()
    series = dicom.series_of(item.source)
    return Found(series.source, series=series).new_case()
