"""The project's secret: what makes patient keys irreversible and places unreadable in the registry.

PatientIDs are short and can be guessed, so their keys are HMACs with a secret that lies outside the database
(Hofmanninger et al. 2020 had 5300 patients: every one of them could be tried in a second). Folders are often named
after patients, so where a series lies is encrypted too: the database alone says nothing of anybody.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import zlib
from functools import cached_property
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from datastore.atomic import atomic_path
from datastore.records import Source

SECRET_FILE = "secret.key"
SECRET_BYTES = 32


class SecretError(ValueError):
    """The project's secret is missing, damaged, or another project's."""


class ProjectSecret:
    """Keys of patients and series, and the encryption of where they lie.

    Args:
        key: 32 random bytes, the same for the life of the project.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != SECRET_BYTES:
            raise SecretError(f"expected a secret of {SECRET_BYTES} bytes, got {len(key)}")
        self._key = key

    @classmethod
    def at(cls, path: Path) -> ProjectSecret:
        """The secret in a file, which is made (for its owner alone) if it is not there.

        Raises:
            SecretError: If the file holds something else.
        """
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with atomic_path(path) as temporary:
                    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    with os.fdopen(descriptor, "w") as file:
                        file.write(secrets.token_hex(SECRET_BYTES) + "\n")
            except FileExistsError:  # another process was first: its secret is the project's
                pass
        try:
            return cls(bytes.fromhex(path.read_text(encoding="ascii").strip()))
        except ValueError as error:
            raise SecretError(f"{path}: expected {2 * SECRET_BYTES} hexadecimal digits: {error}") from error

    def patient_key(self, patient_id: str) -> str:
        """The key of a patient: 32 hexadecimal digits that only this project gives this PatientID."""
        return self._digest(f"patient/{patient_id}")[:32]

    def source_key(self, source: Source) -> str:
        """The key of a series: itself for DICOM, whose UID says nothing, and a digest for a path."""
        return source.key if source.series_uid else f"file:{self._digest(f'source/{source.key}')[:32]}"

    def folder_name(self, source: Source, content: str = "") -> str:
        """A neutral name for the copy of a series: the same each time for the same content, and saying nothing."""
        return self._digest(f"copy/{source.key}/{content}")[:16]

    def share(self, patient_key: str) -> float:
        """A number in [0, 1) that a patient always gets: which split it falls into."""
        return int(self._digest(f"split/{patient_key}")[:13], 16) / 16**13

    @property
    def mark(self) -> str:
        """What tells this secret from another without giving it away."""
        return self._digest("mark")[:16]

    def seal(self, source: Source) -> str:
        """Where a series lies, encrypted."""
        plain = json.dumps([os.fspath(source.path), source.series_uid, source.files, source.url, source.copies])
        return self._fernet.encrypt(zlib.compress(os.fsencode(plain))).decode("ascii")

    def unseal(self, sealed: str) -> Source:
        """What `seal` was given.

        Raises:
            SecretError: If it was sealed with another secret.
        """
        try:
            plain = os.fsdecode(zlib.decompress(self._fernet.decrypt(sealed)))
        except InvalidToken as error:
            raise SecretError("a place in the registry was sealed with another secret.key") from error
        path, series_uid, files, url, copies = json.loads(plain)
        return Source(Path(path), series_uid, tuple(files), url, tuple(copies))

    @cached_property
    def _fernet(self) -> Fernet:
        return Fernet(base64.urlsafe_b64encode(bytes.fromhex(self._digest("location"))))

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, os.fsencode(text), hashlib.sha256).hexdigest()
