"""The one file in which a case's image goes out to a viewer, and its checksum.

Files that every viewer reads in the same way go out as they are. A DICOM series, a header with a separate raw
file, or a NIfTI file that places its voxels in two ways is converted to NIfTI once, in the cache; the conversion
carries voxels and grid only, nothing of the patient.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from datastore.atomic import atomic_path, sha256_of
from datastore.dicomweb_access import Credentials
from datastore.dicomweb_fetch import fetch_series
from datastore.fingerprint import holds
from datastore.image_files import read_ct, stored_shape, suffix_of
from datastore.nifti import is_read_alike, write_nifti
from datastore.records import Case, Source
from datastore.slices import SliceError
from datastore.volume import Volume
from datastore.wording import without_path

AS_THEY_ARE = {".nii.gz", ".nii", ".nrrd", ".mha"}


class CaseImageError(ValueError):
    """A registered case's image cannot be had; the message names the case and no path of the server."""


class ServedImages:
    """Images of one project, as volumes and as single files.

    Args:
        cache_folder: Where conversions are kept, and series that a DICOMweb service holds; it can be emptied at
            any time.
        credentials: For DICOMweb services.
    """

    def __init__(self, cache_folder: Path, credentials: Credentials | None = None) -> None:
        self.cache_folder = cache_folder
        self._credentials = credentials

    def read(self, case: Case) -> Volume:
        """The case's Hounsfield units.

        Raises:
            CaseImageError: If it is gone, cannot be read, or is not what was registered.
        """
        source = case.source
        self._check_content(case)
        try:
            volume = read_ct(self._fetched(case) if source.url else source)
        except FileNotFoundError as error:
            raise CaseImageError(f"the image of case {case.id} is gone") from error
        except (ValueError, OSError) as error:
            reason = error.reason if isinstance(error, SliceError) else without_path(error, source.path, "its source")
            raise CaseImageError(f"the image of case {case.id} cannot be read: {reason}") from error
        _check_unchanged(case, volume.array.shape)
        if volume.geometry.corner_distance_mm(case.geometry, case.shape) > 0.1 * min(case.geometry.spacing_mm):
            raise CaseImageError(f"the image of case {case.id} has changed since it was registered: another grid")
        return volume

    def path(self, case: Case) -> Path:
        """The file that holds the case's image.

        Raises:
            CaseImageError: As `read`.
        """
        as_it_is = self.look_at(case)
        self._check_content(case)
        if as_it_is:
            return case.source.path
        converted = self.cache_folder / f"{case.id}-{_fingerprint(case)}.nii.gz"
        if not converted.exists():
            volume = self.read(case)
            self.cache_folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(converted, overwrite=True) as temporary:
                write_nifti(Volume(volume.array, volume.geometry.plain()), temporary, compression=1)
        return converted

    def look_at(self, case: Case) -> bool:
        """Check by its header that the image is there and what was registered.

        Returns:
            Whether the file goes out as it is.

        Raises:
            CaseImageError: As `read`; a DICOM series is only looked for.
        """
        if case.source.url:
            return False  # the service is asked when the image is needed
        source = case.source.path
        if not source.exists():
            raise CaseImageError(f"the image of case {case.id} is gone")
        if suffix_of(source) not in AS_THEY_ARE:
            return False
        try:
            stat = source.stat()
            shape, as_it_is = _looked_at(source, stat.st_mtime_ns, stat.st_size)
        except (ValueError, OSError) as error:
            reason = without_path(error, source, "its source")
            raise CaseImageError(f"the image of case {case.id} cannot be read: {reason}") from error
        _check_unchanged(case, shape)
        return as_it_is

    def _fetched(self, case: Case) -> Source:
        """The series of a DICOMweb service in the cache, where it is fetched to if it is not there.

        Raises:
            DicomwebError: If it cannot be had.
        """
        source = case.source
        folder = self.cache_folder / f"{case.id}-{_fingerprint(case)}-dicom"
        if not folder.exists():
            with suppress(FileExistsError):  # another request was first
                fetch_series(source.url, case.study_uid or "", source.series_uid or "", folder, self._credentials)
        return Source(folder, source.series_uid)

    def _check_content(self, case: Case) -> None:
        """Refuse a file that holds another image than the one registered: it could be another patient."""
        path = case.source.path
        if case.sha256 is None or not path.is_file():
            return
        stat = path.stat()
        if not _holds(path, stat.st_mtime_ns, stat.st_size, case.sha256):
            raise CaseImageError(f"the image of case {case.id} has changed since it was registered")

    def checksum(self, case: Case) -> str:
        """SHA-256 of that file, 64 hexadecimal digits."""
        path = self.path(case)
        stat = path.stat()
        return _sha256(path, stat.st_mtime_ns, stat.st_size)

    def name(self, case: Case) -> str:
        """A file name that no other image has, in this project or another: a viewer's cache may go by it."""
        return f"{case.id}-{self.checksum(case)[:8]}{suffix_of(self.path(case))}"


def _check_unchanged(case: Case, shape: tuple[int, ...]) -> None:
    if shape != case.shape:
        raise CaseImageError(
            f"the image of case {case.id} has changed since it was registered: "
            f"{shape[::-1]} voxels instead of {case.shape[::-1]}"
        )


def identity_of(case: Case) -> str:
    """64 hexadecimal digits that change when the case is registered anew with another file or other slices."""
    what = json.dumps([case.source.key, case.sha256, case.shape, case.geometry.to_dict()])
    return hashlib.sha256(what.encode()).hexdigest()


def _fingerprint(case: Case) -> str:
    return identity_of(case)[:8]


@lru_cache(maxsize=4096)
def _looked_at(path: Path, _mtime_ns: int, _size: int) -> tuple[tuple[int, ...], bool]:
    """A file's shape by its header, and whether all viewers will place it in the same way."""
    is_nifti = suffix_of(path) in (".nii", ".nii.gz")
    shape = stored_shape(path)
    return shape, not is_nifti or is_read_alike(path)


@lru_cache(maxsize=4096)
def _sha256(path: Path, _mtime_ns: int, _size: int) -> str:
    return sha256_of(path)


@lru_cache(maxsize=4096)
def _holds(path: Path, _mtime_ns: int, _size: int, digest: str) -> bool:
    return holds(path, digest)
