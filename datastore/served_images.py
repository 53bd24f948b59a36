"""The one file in which a case's image goes out to a viewer, and its checksum.

Files that viewers read go out as they are. A DICOM series, or a header with a separate raw file, is converted
to NIfTI once, in the cache; the conversion carries voxels and grid only, nothing of the patient.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from datastore.atomic import atomic_path, sha256_of
from datastore.image_files import read_ct, suffix_of
from datastore.nifti import write_nifti
from datastore.records import Case

AS_THEY_ARE = {".nii.gz", ".nii", ".nrrd", ".mha"}


class ServedImages:
    """Images of one project as single files.

    Args:
        cache_folder: Where conversions are kept; it can be emptied at any time.
    """

    def __init__(self, cache_folder: Path) -> None:
        self.cache_folder = cache_folder

    def path(self, case: Case) -> Path:
        """The file that holds the case's image.

        Raises:
            ValueError: If the source cannot be read.
            FileNotFoundError: If it is gone.
        """
        source = case.source
        if not source.path.exists():
            raise FileNotFoundError(f"the image of case {case.id} is gone: {source.path}")
        if suffix_of(source.path) in AS_THEY_ARE:
            return source.path
        converted = self.cache_folder / f"{case.id}.nii.gz"
        if not converted.exists():
            volume = read_ct(source.path, source.series_uid)
            self.cache_folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(converted, overwrite=True) as temporary:
                write_nifti(volume, temporary, compression=1)
        return converted

    def checksum(self, case: Case) -> str:
        """SHA-256 of that file, 64 hexadecimal digits."""
        path = self.path(case)
        stat = path.stat()
        return _sha256(path, stat.st_mtime_ns, stat.st_size)

    def name(self, case: Case) -> str:
        """A file name that no other image has, in this project or another: a viewer's cache may go by it."""
        return f"{case.id}-{self.checksum(case)[:8]}{suffix_of(self.path(case))}"


@lru_cache(maxsize=4096)
def _sha256(path: Path, _mtime_ns: int, _size: int) -> str:
    return sha256_of(path)
