"""Where a DICOMweb service is and who asks it; the two are never written into one address."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import requests
from requests.auth import HTTPBasicAuth

USER, PASSWORD, TOKEN = "LUNGAPP_DICOMWEB_USER", "LUNGAPP_DICOMWEB_PASSWORD", "LUNGAPP_DICOMWEB_TOKEN"


@dataclass(frozen=True)
class Credentials:
    """Who asks: a user with a password, the bearer of a token, or nobody.

    Raises:
        ValueError: If it is half a pair, both kinds, or no token that HTTP can carry; values are not repeated.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if bool(self.user) != bool(self.password):
            raise ValueError(f"expected a user and a password ({USER}, {PASSWORD}), got one without the other")
        if self.token and self.user:
            raise ValueError(f"expected a user with a password or a token, got both ({USER}, {TOKEN})")
        if self.token and not re.fullmatch(r"[\x21-\x7e]+", self.token):
            raise ValueError(f"the token ({TOKEN}) has characters that no bearer token has")
        if ":" in self.user:
            raise ValueError(f"the user ({USER}) has a colon, which HTTP basic authentication cannot carry")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Credentials:
        """Those that the variables `LUNGAPP_DICOMWEB_USER`, `..._PASSWORD` and `..._TOKEN` hold."""
        return cls(environment.get(USER, ""), environment.get(PASSWORD, ""), environment.get(TOKEN, ""))

    def sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request with them; as a function, so that requests looks for none in a .netrc file."""
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        elif self.user:
            HTTPBasicAuth(self.user.encode(), self.password.encode())(request)
        return request


def checked_url(url: str) -> str:
    """The root of a service without a slash at its end.

    Raises:
        ValueError: If it is no http address, or holds credentials, which are stored nowhere.

    >>> checked_url("http://pacs:8042/dicom-web/")
    'http://pacs:8042/dicom-web'
    """
    if "@" in url:
        raise ValueError(
            f"expected the address of the DICOMweb service without user and password: set {USER} and {PASSWORD}, "
            f"or {TOKEN}, in the environment"
        )
    if any(letter in url for letter in "?#"):
        raise ValueError("expected the address of the DICOMweb service without a query (?...) or fragment (#...)")
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number
        is_address = False
    if not is_address or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError(f"{url}: no address of a DICOMweb service: expected http://HOST[:PORT]/PATH")
    return url.rstrip("/")


def checked_uid(uid: str) -> str:
    """A UID, which becomes part of an address.

    Raises:
        ValueError: If it has other characters than digits and dots, or more than 64.
    """
    if not is_uid(uid):
        raise ValueError(f"expected a UID of up to 64 digits and dots, got {uid[:80]!r}")
    return uid


def is_uid(text: str) -> bool:
    """Whether a text is a UID, and can do no harm in an address.

    >>> is_uid("1.2.840.10008"), is_uid(".."), is_uid("1/../2")
    (True, False, False)
    """
    return re.fullmatch(r"[0-9.]{1,64}", text) is not None and text.strip(".") != ""
