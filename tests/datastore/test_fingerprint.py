from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datastore import fingerprint as module
from datastore.atomic import sha256_of
from datastore.fingerprint import fingerprint, holds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(np.random.default_rng(0).bytes(3 << 20))
    return path


def test_a_change_at_either_end_or_of_the_length_is_noticed(path: Path) -> None:
    before, content = fingerprint(path), path.read_bytes()
    assert len(before) == 64
    sample = len(content) * 9 // 17
    for at in (0, (1 << 20) - 1, sample, sample + 4095, len(content) - (1 << 16), len(content) - 1):
        changed = bytearray(content)
        changed[at] ^= 1
        path.write_bytes(changed)
        assert fingerprint(path) != before, at
    path.write_bytes(content + b"\0")
    assert fingerprint(path) != before
    path.write_bytes(content)
    assert fingerprint(path) == before


def test_of_a_small_file_everything_counts(tmp_path: Path) -> None:
    path = tmp_path / "small"
    digests = set()
    for at in range(0, 3000, 7):
        content = bytearray(3000)
        content[at] = 1
        path.write_bytes(content)
        digests.add(fingerprint(path))
    assert len(digests) == len(range(0, 3000, 7))
    path.write_bytes(b"")
    assert len(fingerprint(path)) == 64


def test_most_of_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # a hole: reading it would take minutes
    before = fingerprint(path)
    with open(path, "ab") as file:
        file.truncate((1 << 40) + 1)  # another length of the same bytes
    assert fingerprint(path) != before


def test_both_kinds_of_digest_hold(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert holds(path, sha256_of(path))
    assert not holds(path, "0" * 64)
    monkeypatch.setattr(module, "sha256_of", lambda _: pytest.fail("read the whole file"))
    assert holds(path, fingerprint(path))
