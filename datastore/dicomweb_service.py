"""A DICOMweb service on the network, asked with patience.

No message of an error repeats a query, an answer or a header: they may name a patient or hold a password.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests

from datastore.dicomweb_access import PASSWORD, TOKEN, USER, Credentials, checked_url

logger = logging.getLogger(__name__)

TIMEOUT_S = (10, 120)  # to connect, and between two pieces of an answer
WAITS_S = (0.2, 1.0, 4.0)  # before asking again
TRANSIENT = frozenset([408, 429, 502, 503, 504])
CHUNK_BYTES = 1 << 20
JSON_BYTES = 1 << 29  # the metadata of a thousand slices are a few MB
REDIRECTS = 5
MEANINGS = {
    400: "no DICOMweb service there, or one that does not know this query",
    403: "the user may not see this",
    404: "no DICOMweb service there, or no such series",
}

T = TypeVar("T")


class DicomwebError(OSError):
    """What a DICOMweb service refused or answered wrongly; the message names the service.

    Attributes:
        status: The HTTP status it answered with, or None.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class UnreachableError(DicomwebError):
    """No answer, or half of one: worth another try."""


class Service:
    """A session with a DICOMweb service.

    Attributes:
        url: Its root.
    """

    def __init__(self, url: str, credentials: Credentials) -> None:
        self.url = checked_url(url)
        self._credentials = credentials
        self._session = requests.Session()

    def close(self) -> None:
        """Give its connections back."""
        self._session.close()

    def patiently(self, ask: Callable[[], T]) -> T:
        """What `ask` gives, which is tried again after a while when the service cannot be reached.

        Raises:
            UnreachableError: From the last try.
        """
        for wait_s in WAITS_S:
            try:
                return ask()
            except UnreachableError as error:
                logger.info("%s; asking again in %g s", error, wait_s)
                time.sleep(wait_s)
        return ask()

    def rows(self, path: str, query: Mapping[str, str | int] | None = None) -> list[dict[str, Any]]:
        """DICOM JSON objects, e.g. the matches of a query or the metadata of a series; none for HTTP 204.

        Args:
            path: Below the root.
            query: Parameters of the query.

        Raises:
            DicomwebError: If the service is away, refuses, or answers something else.
        """
        return self.patiently(lambda: self._rows(path, query or {}))

    def _rows(self, path: str, query: Mapping[str, str | int]) -> list[dict[str, Any]]:
        with self.stream(path, "application/dicom+json", query) as response:
            content = bytearray()
            for chunk in response.iter_content(CHUNK_BYTES):
                content += chunk
                if len(content) > JSON_BYTES:
                    raise DicomwebError(f"{self.url}: answered more than {JSON_BYTES >> 20} MiB of JSON")
            kind = response.headers.get("Content-Type", "an unknown type").split(";")[0]
        if not content:
            return []
        try:
            rows = json.loads(bytes(content))
        except (ValueError, RecursionError):
            raise DicomwebError(
                f"{self.url}: no DICOMweb answer: expected application/dicom+json, got {kind[:60]!r} that is no JSON"
            ) from None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DicomwebError(f"{self.url}: no DICOMweb answer: expected a list of DICOM objects, got other JSON")
        return rows

    @contextmanager
    def stream(
        self, path: str, accept: str, query: Mapping[str, str | int] | None = None
    ) -> Iterator[requests.Response]:
        """An answer whose body is not read yet.

        Raises:
            UnreachableError: If there is none or, in the block, if it breaks off.
            DicomwebError: If it is no HTTP 2xx.
        """
        try:
            with self._answer(path, accept, query) as response:
                self._check_status(response)
                yield response
        except requests.RequestException as error:
            raise UnreachableError(f"{self.url}: {_why(error)}") from None

    def _answer(self, path: str, accept: str, query: Mapping[str, str | int] | None) -> requests.Response:
        """An answer that is no redirect; one is followed on the same server only, where the credentials belong."""
        address, parameters = f"{self.url}/{path}", query
        for _ in range(REDIRECTS):
            response = self._session.get(
                address,
                params=parameters,
                headers={"Accept": accept},
                auth=self._credentials.sign,
                timeout=TIMEOUT_S,
                stream=True,
                allow_redirects=False,
            )
            if not response.is_redirect:
                return response
            response.close()
            target = urlsplit(urljoin(address, response.headers["Location"]))
            if (target.scheme, target.netloc) != urlsplit(self.url)[:2]:
                elsewhere = f"{target.scheme}://{target.netloc.rpartition('@')[2]}"
                raise DicomwebError(
                    f"{self.url}: redirects to {elsewhere}, which is not followed: give the address of that service"
                )
            address, parameters = target.geturl(), None  # the redirect repeats the query
        raise DicomwebError(f"{self.url}: redirects in a circle")

    def _check_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status in TRANSIENT:
            raise UnreachableError(f"{self.url}: answers HTTP {status}", status)
        if status == 401:
            wants = "refuses the user and password or the token" if self._is_signed() else "asks for credentials"
            raise DicomwebError(f"{self.url}: {wants} (HTTP 401): set {USER} and {PASSWORD}, or {TOKEN}", status)
        if not 200 <= status < 300:
            why = MEANINGS.get(status, "")
            raise DicomwebError(f"{self.url}: answers HTTP {status}{why and ': '}{why}", status)

    def _is_signed(self) -> bool:
        return bool(self._credentials.user or self._credentials.token)


def _why(error: BaseException) -> str:
    """Why there is no answer. The message of requests itself is not taken: it repeats the query."""
    if isinstance(error, requests.ReadTimeout):
        return f"no answer within {TIMEOUT_S[1]} s"
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {TIMEOUT_S[0]} s"
    if isinstance(error, (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError)):
        return "the answer broke off"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return f"cannot be reached ({cause.strerror})"
        cause = cause.__cause__ or cause.__context__
    return "cannot be reached"
