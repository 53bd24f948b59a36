"""Registering the series of a DICOMweb service, which stay there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from datastore.dicomweb import find_remote_series
from datastore.dicomweb_access import Credentials
from datastore.dicomweb_fetch import fetch_series
from datastore.dicomweb_service import DicomwebError
from datastore.records import NewCase, Source
from datastore.registry import Registry
from datastore.selection import SelectionFacts, exclusion
from lungapp.ingest import IngestOptions, IngestReport, Intake
from lungapp.known_series import KnownSeries


def ingest_service(
    registry: Registry, url: str, step: Callable[[], None], options: IngestOptions, environment: Mapping[str, str]
) -> IngestReport:
    """Register every CT series of a DICOMweb service by its metadata.

    A series that has grown since, or was no whole volume, is looked at again.

    Args:
        registry: Where they go.
        url: Root of the service.
        step: Called once for each series that was looked at.
        options: How; with `copy_to` the images are fetched at once.
        environment: Holds the credentials; see `dicomweb_access`.

    Raises:
        ValueError: If the address is none.
        DicomwebError: If the service is away, refuses, or is none; what was registered until then stays.
    """
    known = KnownSeries(registry, options.rules, rescan=options.rescan, wanted=options.wants)
    intake = Intake(registry, options, known)
    credentials = Credentials.from_environment(environment)
    images = {item.source.series_uid: item.slices for item in known.series if not item.damaged}
    noted = {series.source.key: series.reason for series in registry.exclusions()} if not options.rescan else {}
    passed: set[str] = set()

    def is_known(uid: str, stated: int | None) -> bool:
        if uid not in images or stated not in (None, images[uid]):
            return False
        passed.add(uid)
        return True

    try:
        for item in find_remote_series(
            url, patient_of=registry.secret.patient_key, credentials=credentials, known=is_known, progress=step
        ):
            record = item.record
            if isinstance(record, NewCase):
                _take(registry, intake, record, item.image_type, options, credentials)
            elif noted.get(record.source.key) == record.reason:
                intake.report.known += 1
            else:
                if not item.unanswered:  # otherwise nothing is known of it
                    intake.take_exclusion(replace(record, damaged=item.damaged))
                sentence = f"{record.source}: {record.reason}"
                (intake.report.failed if item.damaged else intake.report.skipped).append(sentence)
    finally:
        intake.finish()
    intake.report.known += len(passed)
    known.remember(intake.met.values())
    return intake.report


def _take(
    registry: Registry,
    intake: Intake,
    record: NewCase,
    image_type: tuple[str, ...],
    options: IngestOptions,
    credentials: Credentials,
) -> None:
    """Take a series as it is, or its copy; one that cannot be fetched does not stop the others."""
    facts = SelectionFacts(record.shape, record.geometry, record.description, image_type)
    record = replace(record, exclusion=exclusion(facts, options.rules))
    if options.copy_to is not None:
        try:
            record = replace(record, source=_fetched(registry, record, options.copy_to, credentials))
        except DicomwebError as error:
            intake.report.failed.append(f"{record.source}: {error}")
            return
    intake.take_case(record)


def _fetched(registry: Registry, record: NewCase, folder: Path, credentials: Credentials) -> Source:
    target = folder / registry.secret.folder_name(record.source, f"{record.shape[0]} slices")
    uid, url = record.source.series_uid or "", record.source.url
    if not target.exists():
        fetch_series(url, record.study_uid or "", uid, target, credentials)
    return Source(target, uid)
