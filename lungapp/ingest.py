"""Registering what lies under some paths, while they are still being searched."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datastore.database import RegistryError
from datastore.found import Found
from datastore.hounsfield import NotHounsfieldError
from datastore.records import Case, NewCase, NewExclusion, Source
from datastore.registry import LOCAL, Registry
from datastore.scan import Tally, scan, scan_again
from datastore.selection import SelectionRules
from datastore.series import Rejected
from datastore.wording import raised_at
from lungapp.copies import copied
from lungapp.known_series import KnownFiles, KnownSeries, files_of
from lungapp.listing import case_dict

BATCH = 100  # series in one transaction

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class IngestOptions:
    """How series are registered.

    Attributes:
        rules: Which are offered to annotators.
        cohort: Of the new cases.
        tags: Of the new cases.
        copy_to: Folder into which files are copied; None leaves them where they lie.
        overrule: Why every series is taken whatever the rules say, or None.
        rescan: Whether files that are registered are looked at again.
        by: Who registers.
    """

    rules: SelectionRules = field(default_factory=SelectionRules)
    cohort: str = ""
    tags: tuple[str, ...] = ()
    copy_to: Path | None = None
    overrule: str | None = None
    rescan: bool = False
    by: str = LOCAL

    def wants(self, source: Source) -> bool:
        """Whether a registered case has to be looked at again: to overrule the rules for it, or to copy it."""
        is_copied = self.copy_to is None or source.path.is_relative_to(self.copy_to)
        return self.overrule is not None or not is_copied


@dataclass
class IngestReport:
    """What an ingest did.

    Attributes:
        added: New cases.
        known: How many series were registered or noted already.
        known_files: How many files were registered already, and not opened again.
        skipped: What is no CT volume, with the reason: masks, localizers, other modalities.
        failed: What ought to be one but cannot be read, with the reason.
    """

    added: list[Case] = field(default_factory=list)
    known: int = 0
    known_files: int = 0
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def add(self, other: IngestReport) -> None:
        """Count what another ingest did too."""
        self.added += other.added
        self.known += other.known
        self.known_files += other.known_files
        self.skipped += other.skipped
        self.failed += other.failed

    @property
    def ineligible(self) -> int:
        """How many of the new cases the rules leave out."""
        return sum(not case.eligible for case in self.added)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "added": [case_dict(case) for case in self.added],
            "known": self.known,
            "known_files": self.known_files,
            "ineligible": self.ineligible,
            "skipped": self.skipped,
            "failed": self.failed,
        }


def ingest(
    registry: Registry, paths: Sequence[Path], step: Callable[[], None], options: IngestOptions | None = None
) -> IngestReport:
    """Register every CT series under some paths; one that fails does not stop the others.

    Series are registered in batches while the search goes on: one that is killed loses little, and the next one
    does not open what is registered.

    Args:
        registry: Where they go.
        paths: Files and folders.
        step: Called once for each file that was looked at.
        options: How.
    """
    how = options or IngestOptions()
    known = KnownSeries(registry, how.rules, rescan=how.rescan, wanted=how.wants)
    intake = Intake(registry, how, known)
    files = KnownFiles(known)
    tally = Tally()

    def progress(now: Tally) -> None:
        nonlocal tally
        tally = now
        step()

    for path in paths:
        if not path.exists() and not path.is_symlink():
            intake.report.failed.append(f"{path}: no such file or folder")
    there = [path for path in paths if path.exists() or path.is_symlink()]
    for item in scan(there, known=files, patient_of=registry.secret.patient_key, progress=progress):
        intake.take(item)
    intake.finish()
    report = intake.report
    report.known_files = tally.known
    report.known += len(files.met - intake.met.keys())
    if there and not (report.added or report.known or report.known_files or report.skipped or report.failed):
        listed = ", ".join(str(path) for path in there)
        report.failed.append(f"{listed}: no CT found: expected NIfTI, MetaImage, NRRD or DICOM files in it or below")
    known.remember(intake.met.values())
    return report


class Intake:
    """Turns what a search finds into cases, batch by batch.

    Args:
        registry: Where they go.
        options: How.
        known: What is registered.
    """

    def __init__(self, registry: Registry, options: IngestOptions, known: KnownSeries) -> None:
        self.report = IngestReport()
        self._sources = dict(known.by_uid)
        self._began = datetime.now(UTC)
        self.met: dict[str, Source] = {}  # the series that were registered or found again, by their key
        self._registry = registry
        self._options = options
        self._cases: list[NewCase] = []
        self._exclusions: list[NewExclusion] = []

    def take(self, item: Found | Rejected) -> None:
        """Take one series, file, or reason why something is none."""
        try:
            whole = self._with_known_parts(item)
            if isinstance(whole, Rejected):
                self._reject(whole)
            else:
                self.take_case(self._copied(whole, whole.new_case(self._options.rules)))
        except NotHounsfieldError as error:
            is_given = isinstance(item, Found) and item.given
            (self.report.failed if is_given else self.report.skipped).append(str(error))
        except RegistryError:
            raise
        except Exception as error:  # one series that fails does not stop the others
            logger.info("a series could not be taken: %s", raised_at(error))
            self.report.failed.append(" ".join(str(error).split()) or type(error).__name__)

    def take_case(self, new: NewCase) -> None:
        """Take a series whose record is made."""
        self._sources[new.source.series_uid or ""] = new.source
        self._cases.append(replace(new, cohort=self._options.cohort, tags=self._options.tags, seen_at=self._began))
        self._finish_batch()

    def take_exclusion(self, new: NewExclusion) -> None:
        """Take the reason why a series is no volume."""
        self._sources[new.source.series_uid or ""] = new.source
        self._exclusions.append(replace(new, seen_at=self._began))
        self._finish_batch()

    def finish(self) -> None:
        """Register what is left."""
        self._register()

    def _finish_batch(self) -> None:
        if len(self._cases) + len(self._exclusions) >= BATCH:
            self._register()

    def _register(self) -> None:
        by, rules = self._options.by, self._options.rules
        self._registry.note_exclusions(self._exclusions, by)
        self._exclusions = []
        for result in self._registry.add_cases(self._cases, by, one_per_study=rules.one_per_study):
            if isinstance(result, ValueError):
                self.report.failed.append(str(result))
                continue
            case, is_new = result
            if self._options.overrule is not None and not case.eligible:
                case = self._registry.overrule(case.id, self._options.overrule, by)
            if is_new:
                self.report.added.append(case)
            elif case.source.key not in self.met:
                self.report.known += 1
            self.met[case.source.key] = case.source
        self._cases = []

    def _reject(self, item: Rejected) -> None:
        (self.report.failed if item.damaged else self.report.skipped).append(str(item))
        if item.exclusion is not None:
            self.take_exclusion(replace(item.exclusion, damaged=item.damaged))

    def _with_known_parts(self, item: Found | Rejected) -> Found | Rejected:
        """A series together with files of it that were registered before, in this ingest or an earlier one."""
        source = item.exclusion.source if isinstance(item, Rejected) and item.exclusion else None
        if isinstance(item, Found) and item.series is not None:
            source = item.source
        if source is None or source.series_uid is None:
            return item
        known = self._sources.get(source.series_uid)
        if known is None or known.url or not known.files or set(files_of(known)) <= set(files_of(source)):
            return item
        return scan_again([known, source], self._registry.secret.patient_key)

    def _copied(self, item: Found, new: NewCase) -> NewCase:
        if self._options.copy_to is None:
            return new
        copy = copied(item, new, self._options.copy_to, self._registry.secret)
        return replace(new, source=copy, origin=item.source)
