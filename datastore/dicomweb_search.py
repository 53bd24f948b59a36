"""Asking a DICOMweb service which series it has (QIDO-RS), page by page."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

from datastore.dicom_json import Json, text_of
from datastore.dicomweb_access import is_uid
from datastore.dicomweb_service import DicomwebError, Service, UnreachableError
from datastore.wording import first_line

logger = logging.getLogger(__name__)

NOT_OFFERED = frozenset([400, 404, 405, 406, 422, 500, 501])  # what a search of all series may be answered with
OF_STUDY = frozenset(
    ["StudyDate", "StudyTime", "StudyDescription", "StudyID", "StudyInstanceUID", "AccessionNumber", "InstitutionName"]
    + ["ModalitiesInStudy", "ReferringPhysicianName", "PatientName", "PatientID", "PatientSex", "PatientBirthDate"]
)

Query = Mapping[str, str]


def find_rows(service: Service, modality: str | None, asked: Query, page: int) -> Iterator[Json]:
    """What the service tells of each series that matches: in one search or, where it has none, study by study."""
    of_modality = {} if modality is None else {"Modality": modality}
    try:
        yield from _search(service, "series", "SeriesInstanceUID", {**asked, **of_modality}, page)
        return
    except DicomwebError as error:
        if error.status not in NOT_OFFERED:
            raise
    of_study = {name: value for name, value in asked.items() if name in OF_STUDY}
    of_series = {name: value for name, value in asked.items() if name not in OF_STUDY} | of_modality
    if modality is not None:
        of_study.setdefault("ModalitiesInStudy", modality)
    studies, failed = 0, []
    for study in _search(service, "studies", "StudyInstanceUID", of_study, page):
        studies += 1
        try:
            place = f"studies/{text_of(study, 'StudyInstanceUID')}/series"
            for row in _search(service, place, "SeriesInstanceUID", of_series, page):
                yield {**study, **row}
        except DicomwebError as error:
            if isinstance(error, UnreachableError) or error.status == 401:
                raise
            failed.append(error)
    if failed:
        why = without_url(service, failed[0])
        raise DicomwebError(f"{service.url}: cannot list the series of {len(failed)} of {studies} studies: {why}")


def _search(service: Service, path: str, uid_keyword: str, query: Query, page: int) -> Iterator[Json]:
    """The matches of a query, page by page, each once.

    A service may give fewer than asked for, all at once, or the same page for ever: what counts is whether a page
    brings something new.
    """
    seen: set[str] = set()

    def new(rows: Sequence[Json]) -> Iterator[Json]:
        for row in rows:
            uid = text_of(row, uid_keyword)
            if not is_uid(uid):
                logger.warning("%s: something without a valid %s is passed over", service.url, uid_keyword)
            elif uid not in seen:
                seen.add(uid)
                yield row

    offset = 0
    while True:
        rows = service.rows(path, {**query, "limit": page, "offset": offset})
        before = len(seen)
        yield from new(rows)
        if len(seen) == before:
            break
        offset += len(rows)
    if len(rows) == page:  # full of what came before: the offset is ignored, so everything has to come at once
        before = len(seen)
        yield from new(service.rows(path, query))
        if len(seen) == before:
            logger.warning("%s: gives the same %d of %s again and again; more may be there", service.url, page, path)


def without_url(service: Service, error: Exception) -> str:
    """An error's message for a record that names the service already."""
    return first_line(error).removeprefix(f"{service.url}: ")
