"""The series of a DICOMweb service, found by QIDO-RS and judged by their metadata: no pixels are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from datastore.dicom_json import Json, series_of, tag, text_of, texts_of
from datastore.dicomweb_access import Credentials, is_uid
from datastore.dicomweb_search import Query, find_rows, without_url
from datastore.dicomweb_service import DicomwebError, Service, UnreachableError
from datastore.records import NewCase, NewExclusion, Source
from datastore.slices import NO_PATIENT, NotCTError, SliceError


@dataclass(frozen=True)
class RemoteSeries:
    """A series of a DICOMweb service.

    Attributes:
        record: The case that it makes, or why it makes none. It holds no more of the PatientID than the key.
        image_type: Values of ImageType in capitals; none if the metadata could not be read.
        damaged: Whether it ought to be a volume: a slice is missing, the service gives no metadata. False for what
            simply is something else: a localizer, a report.
        unanswered: Whether the service did not answer for it, so that nothing is known of it.
    """

    record: NewCase | NewExclusion
    image_type: tuple[str, ...] = ()
    damaged: bool = False
    unanswered: bool = False


def nothing(_uid: str, _images: int | None) -> bool:
    """What is known where nothing is."""
    return False


def find_remote_series(
    url: str,
    *,
    patient_of: Callable[[str], str],
    modality: str | None = "CT",
    filters: Query | None = None,
    credentials: Credentials | None = None,
    page: int = 100,
    known: Callable[[str, int | None], bool] = nothing,
    progress: Callable[[], None] | None = None,
) -> Iterator[RemoteSeries]:
    """Every series of a DICOMweb service, one by one while the search goes on.

    Args:
        url: Root of the service.
        patient_of: Makes the key of a patient of a PatientID, which is kept nowhere.
        modality: Which series are looked at; None for all.
        filters: Values of further attributes by keyword, as QIDO-RS matches them: `{"StudyDate": "20240101-"}`.
        credentials: For the service.
        page: How many series are asked for at once.
        known: Whether a series is passed over, by its UID and the number of images that the service states, e.g.
            one that is registered already.
        progress: Called once for each series that was looked at.

    Raises:
        ValueError: If the address, a filter or the page size is none; before anything is asked.
        DicomwebError: If the service is away, refuses the credentials, or is no DICOMweb service. A series that
            fails by itself is given with the reason; studies whose series cannot be listed raise at the end.
    """
    asked = dict(filters or {})
    for name in asked:
        tag(name)
    if page < 1:
        raise ValueError(f"expected a page of at least 1 series, got {page}")
    service = Service(url, credentials or Credentials())
    return _found(service, patient_of, modality, asked, page, known, progress)


def _found(
    service: Service,
    patient_of: Callable[[str], str],
    modality: str | None,
    asked: Query,
    page: int,
    known: Callable[[str, int | None], bool],
    progress: Callable[[], None] | None,
) -> Iterator[RemoteSeries]:
    seen: set[str] = set()
    with closing(service):
        for row in find_rows(service, modality, asked, page):
            uid = text_of(row, "SeriesInstanceUID")
            is_other = modality is not None and text_of(row, "Modality") not in ("", modality)
            if uid in seen or is_other or known(uid, _stated_images(row)):  # services need not know every filter
                continue
            seen.add(uid)
            yield _remote_series(service, row, patient_of)
            if progress is not None:
                progress()


def _remote_series(service: Service, row: Json, patient_of: Callable[[str], str]) -> RemoteSeries:
    """The series of a row, judged by its metadata."""
    uid, study_uid = text_of(row, "SeriesInstanceUID"), text_of(row, "StudyInstanceUID")
    source = Source(Path(), uid, url=service.url)
    metadata: Sequence[Json] = ()
    try:
        metadata = _metadata(service, row)
        patients = {_patient(image, patient_of) for image in metadata} - {""}
        if len(patients) > 1:
            raise ValueError(f"images of {len(patients)} patients have one SeriesInstanceUID")
        series = series_of(metadata)
        case = NewCase(
            source=source,
            shape=series.shape,
            geometry=series.geometry,
            study_uid=study_uid,
            description=text_of(metadata[0], "SeriesDescription"),
            patient=patients.pop() if patients else "",
        )
        return RemoteSeries(case, _image_type(metadata))
    except (ValueError, DicomwebError) as error:
        if isinstance(error, DicomwebError) and error.status == 401:
            raise
        if isinstance(error, UnreachableError):
            _check_is_there(service)
        told = metadata[0] if metadata else row
        exclusion = NewExclusion(
            source=source,
            reason=error.reason if isinstance(error, SliceError) else without_url(service, error),
            study_uid=study_uid or None,
            description=text_of(told, "SeriesDescription"),
            slices=len(metadata),
            patient=_patient(told, patient_of),
        )
        is_damaged, is_unanswered = not isinstance(error, NotCTError), isinstance(error, DicomwebError)
        return RemoteSeries(exclusion, _image_type(metadata), is_damaged, is_unanswered)


def _metadata(service: Service, row: Json) -> Sequence[Json]:
    """The headers of all images of a series.

    Raises:
        ValueError: If they are too few, or of another series.
        DicomwebError: If the service does not give them.
    """
    uid = text_of(row, "SeriesInstanceUID")
    study_uid = text_of(row, "StudyInstanceUID")
    if not is_uid(study_uid):
        raise ValueError("the service gives no valid StudyInstanceUID")
    metadata = service.rows(f"studies/{study_uid}/series/{uid}/metadata")
    expected = max(1, _stated_images(row) or 1)
    if len(metadata) < expected:
        raise ValueError(f"expected metadata of {expected} images, got {len(metadata)}")
    if any(text_of(image, "SeriesInstanceUID") != uid for image in metadata):
        raise ValueError("the service gives metadata of another series")
    return metadata


def _stated_images(row: Json) -> int | None:
    """How many images a series has, where the service says it."""
    stated = text_of(row, "NumberOfSeriesRelatedInstances")
    return int(stated) if stated.isascii() and stated.isdecimal() and len(stated) < 8 else None


def _patient(row: Json, patient_of: Callable[[str], str]) -> str:
    """Key of the patient, or "" where the PatientID names nobody."""
    patient_id = text_of(row, "PatientID")
    return "" if patient_id.lower() in NO_PATIENT else patient_of(patient_id)


def _image_type(metadata: Sequence[Json]) -> tuple[str, ...]:
    return tuple(value.upper() for value in texts_of(metadata[0], "ImageType")) if metadata else ()


def _check_is_there(service: Service) -> None:
    """Tell a service that is away from one that fails at a single series.

    Raises:
        UnreachableError: If it is away.
    """
    try:
        service.rows("studies", {"limit": 1})
    except DicomwebError as error:
        if isinstance(error, UnreachableError):
            raise
