"""Registering the series of a DICOMweb service, which stay there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from datastore.dicomweb import find_remote_series
from datastore.dicomweb_access import Credentials
from datastore.dicomweb_fetch import fetch_series
from datastore.records import NewCase, Source
from datastore.registry import Registry
from datastore.selection import SelectionFacts, exclusion
from lungapp.ingest import IngestOptions, IngestReport, Intake


def ingest_service(
    registry: Registry, url: str, step: Callable[[], None], options: IngestOptions, environment: Mapping[str, str]
) -> IngestReport:
    """Register every CT series of a DICOMweb service by its metadata.

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
    sources = [source for source, _ in registry.sources()]
    intake = Intake(registry, options, sources)
    credentials = Credentials.from_environment(environment)
    known = set() if options.rescan else {source.series_uid for source in sources if source.series_uid}
    passed: set[str] = set()
    try:
        for item in find_remote_series(
            url,
            patient_of=registry.secret.patient_key,
            credentials=credentials,
            known=Counting(known, passed),
            progress=step,
        ):
            record = item.record
            if not isinstance(record, NewCase):
                intake.take_exclusion(record)
                sentence = f"{record.source}: {record.reason}"
                (intake.report.failed if item.damaged else intake.report.skipped).append(sentence)
                continue
            facts = SelectionFacts(record.shape, record.geometry, record.description, item.image_type)
            record = replace(record, exclusion=exclusion(facts, options.rules))
            if options.copy_to is not None:
                record = replace(record, source=_fetched(registry, record, options.copy_to, credentials))
            intake.take_case(record)
    finally:
        intake.finish()
    intake.report.known += len(passed)
    return intake.report


class Counting(set[str]):
    """UIDs that are known; remembers which of them were asked for.

    Args:
        known: The UIDs.
        asked: Gets those that were found in them.
    """

    def __init__(self, known: set[str], asked: set[str]) -> None:
        super().__init__(known)
        self._asked = asked

    def __contains__(self, uid: object) -> bool:
        is_known = super().__contains__(uid)
        if is_known:
            self._asked.add(str(uid))
        return is_known


def _fetched(registry: Registry, record: NewCase, folder: Path, credentials: Credentials) -> Source:
    target = folder / registry.secret.folder_name(record.source)
    uid, url = record.source.series_uid or "", record.source.url
    if not target.exists():
        fetch_series(url, record.study_uid or "", uid, target, credentials)
    return Source(target, uid)
