"""Fetching a series of a DICOMweb service into a folder by WADO-RS: all of it, or no folder."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from io import BufferedWriter
from pathlib import Path

import pydicom
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from datastore.atomic import TEMPORARY_PREFIX, fsync_folder
from datastore.dicom_json import text_of
from datastore.dicomweb_access import Credentials, checked_uid
from datastore.dicomweb_service import CHUNK_BYTES, DicomwebError, Service, UnreachableError

AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
IDENTITY = ["SOPInstanceUID", "SeriesInstanceUID"]


def fetch_series(
    url: str,
    study_uid: str,
    series_uid: str,
    folder: Path,
    credentials: Credentials | None = None,
    *,
    progress: Callable[[], None] | None = None,
) -> int:
    """Copy the images of a series, in the transfer syntax that the service keeps them in.

    They go to a hidden folder beside `folder` that gets its name when all are there and on the disk; a crash leaves
    at most that hidden folder. The memory used does not grow with the series.

    Args:
        url: Root of the service.
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        folder: Made by this; its files are `00001.dcm`, ... in the order in which they came.
        credentials: For the service.
        progress: Called once for each image.

    Returns:
        How many images there are.

    Raises:
        FileExistsError: If `folder` is there already, or another process was first.
        ValueError: If the address or a UID is none.
        DicomwebError: If the service is away or refuses, or gives other images than its metadata names.
    """
    place = f"studies/{checked_uid(study_uid)}/series/{checked_uid(series_uid)}"
    if folder.exists():
        raise FileExistsError(f"{folder}: exists already and is left as it is")
    with closing(Service(url, credentials or Credentials())) as service:
        expected = sorted(text_of(image, "SOPInstanceUID") for image in service.rows(f"{place}/metadata"))
        if not expected or not all(expected):
            raise DicomwebError(f"{service.url}: names no images of series {series_uid}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        service.patiently(lambda: _fetch(service, place, folder, expected, progress))
    return len(expected)


def _fetch(
    service: Service, place: str, folder: Path, expected: list[str], progress: Callable[[], None] | None
) -> None:
    temporary = folder.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{folder.name}")
    temporary.mkdir()
    try:
        with service.stream(place, AS_STORED) as response:
            kind, options = parse_options_header(response.headers.get("Content-Type"))
            boundary = options.get(b"boundary")
            if kind != b"multipart/related" or not boundary:
                raise DicomwebError(f"{service.url}: expected multipart/related, got {kind.decode('latin-1')[:60]!r}")
            images = _Images(temporary, place, service.url, len(expected), progress)
            try:
                images.receive(boundary, response.iter_content(CHUNK_BYTES))
            finally:
                images.close()
        if len(images.uids) < len(expected):
            raise DicomwebError(f"{service.url}: expected {len(expected)} images, got {len(images.uids)}")
        if sorted(images.uids) != expected:
            raise DicomwebError(f"{service.url}: sent other images of {place} than its metadata names")
        fsync_folder(temporary)
        try:
            os.rename(temporary, folder)
        except OSError:
            if folder.exists():
                raise FileExistsError(f"{folder}: exists already and is left as it is") from None
            raise
        fsync_folder(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _Images:
    """Writes the parts of a multipart message to files as they come.

    Attributes:
        uids: SOPInstanceUID of each image that came.
    """

    def __init__(self, folder: Path, place: str, url: str, expected: int, progress: Callable[[], None] | None) -> None:
        self.uids: list[str] = []
        self._folder, self._series, self._url, self._expected = folder, place.rpartition("/")[2], url, expected
        self._progress = progress
        self._file: BufferedWriter  # of the part that is coming
        self._open = ExitStack()
        self._is_complete = False

    def receive(self, boundary: bytes, chunks: Iterator[bytes]) -> None:
        """Write a whole message.

        Raises:
            UnreachableError: If it is cut short.
            DicomwebError: If it is no multipart message, or a part is no image of the series.
        """
        try:
            parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_part_data": self._write,
                    "on_part_end": self._end,
                    "on_end": self._complete,
                },
            )
            for chunk in chunks:
                parser.write(chunk)
        except FormParserError:
            raise DicomwebError(f"{self._url}: sent a damaged multipart message") from None
        if not self._is_complete:
            came = f"{len(self.uids)} of {self._expected} images"
            raise UnreachableError(f"{self._url}: the answer broke off after {came}")

    def close(self) -> None:
        """Close the file of a part that broke off."""
        self._open.close()

    def _begin(self) -> None:
        if len(self.uids) == self._expected:
            raise DicomwebError(f"{self._url}: sent more than the {self._expected} images that its metadata names")
        path = self._folder / f"{len(self.uids) + 1:05d}.dcm"
        self._file = self._open.enter_context(open(path, "wb"))  # noqa: SIM115 - the stack closes it

    def _write(self, data: bytes, start: int, end: int) -> None:
        self._file.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._open.close()
        self.uids.append(self._uid_of(Path(self._file.name)))
        if self._progress is not None:
            self._progress()

    def _complete(self) -> None:
        self._is_complete = True

    def _uid_of(self, path: Path) -> str:
        """SOPInstanceUID of an image that has come."""
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=IDENTITY)
            series_uid, uid = str(header.SeriesInstanceUID), str(header.SOPInstanceUID)
        except Exception:  # pydicom raises about anything on nonsense
            raise DicomwebError(f"{self._url}: image {len(self.uids) + 1} is no DICOM") from None
        if series_uid != self._series:
            raise DicomwebError(f"{self._url}: image {len(self.uids) + 1} is not of series {self._series}")
        return uid
