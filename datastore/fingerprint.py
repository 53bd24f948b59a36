"""A digest of a file's content that is quick on large files: most of it is not read.

Two scans that differ differ in their length, at their begin or end, or in one of the samples between: a header, the
voxels of a compressed file, the checksum at the end of gzip. Deliberate changes elsewhere are not noticed; label
files, which nobody may change, keep their whole SHA-256.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from datastore.atomic import sha256_of

HEAD_BYTES = 1 << 20
TAIL_BYTES = 1 << 16
SAMPLES, SAMPLE_BYTES = 16, 1 << 12


def fingerprint(path: Path) -> str:
    """SHA-256 over a file's length, first MiB, 16 samples and last 64 KiB; 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        digest.update(size.to_bytes(8, "little"))
        places = [(0, HEAD_BYTES)]
        if size > HEAD_BYTES:
            places += [(size * number // (SAMPLES + 1), SAMPLE_BYTES) for number in range(1, SAMPLES + 1)]
            places.append((size - TAIL_BYTES, TAIL_BYTES))
        for place, length in places:
            file.seek(place)
            digest.update(file.read(length))
    return digest.hexdigest()


def holds(path: Path, digest: str) -> bool:
    """Whether a file has the content of that digest: a fingerprint, or a SHA-256 as earlier versions kept."""
    return fingerprint(path) == digest or sha256_of(path) == digest
