"""Disks that are full or read-only, databases that are locked, damaged or somebody else's."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from registries import GRID, label, mask, new_case

from datastore import database
from datastore.database import RegistryError
from datastore.registry import Registry
from datastore.secret import SECRET_FILE
from datastore.volume import Volume


def open_sqlite(folder: Path) -> Registry:
    return Registry.open(f"sqlite:///{folder / 'registry.sqlite'}", folder / "labels")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1.5 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_loses_nothing_that_was_acknowledged(small_disk: Path) -> None:
    registry = open_sqlite(small_disk)
    noise = np.random.default_rng(0)
    shape = (40, 64, 64)
    registry.add_case(new_case("a", shape=shape))
    stored = []
    with pytest.raises((OSError, RegistryError), match=r"No space left on device|disk is full|disk I/O error"):
        for _ in range(1000):
            noisy = Volume(noise.integers(0, 3, shape).astype(np.uint8), GRID)
            stored.append(registry.add_label("0001", noisy, label(findings=())))
    assert stored
    assert registry.labels("0001")[-1].id == stored[-1].id
    assert not [fault for fault in registry.check() if fault.is_loss]
    assert list(registry.labels_folder.glob("0001/.writing-*")) == []
    shutil.move(stored[0].path, small_disk.parent)  # somebody makes room
    assert registry.add_label("0001", Volume(np.zeros(shape, np.uint8), GRID), label(findings=())).number
    registry.close()


def test_a_registry_that_cannot_grow_keeps_what_it_has(small_disk: Path) -> None:
    registry = open_sqlite(small_disk)
    added = 0
    with pytest.raises(RegistryError, match=r"the registry cannot be used: (database or disk is full|disk I/O error)"):
        for number in range(10_000):
            registry.add_cases([new_case(f"{number}-{part}") for part in range(50)])
            added += 50
    registry.close()
    again = open_sqlite(small_disk)
    assert len(again.case_ids()) == added
    again.close()


def test_a_project_that_is_read_only_says_so(tmp_path: Path) -> None:
    registry = open_sqlite(tmp_path)
    registry.add_case(new_case("a"))
    registry.close()
    before = (tmp_path / "registry.sqlite").read_bytes()
    if os.geteuid() == 0:  # whom no permission stops
        mounted = subprocess.run(["mount", "--bind", str(tmp_path), str(tmp_path)], capture_output=True)
        remounted = subprocess.run(["mount", "-o", "remount,ro,bind", str(tmp_path)], capture_output=True)
        if mounted.returncode or remounted.returncode:
            pytest.skip("nothing can be made read-only here")
    else:
        tmp_path.chmod(0o500)
    try:
        with pytest.raises(RegistryError, match="registry.sqlite: cannot be (opened|written)"):
            open_sqlite(tmp_path)
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", str(tmp_path)], check=True)
        else:
            tmp_path.chmod(0o700)
    assert (tmp_path / "registry.sqlite").read_bytes() == before


def test_a_database_that_somebody_else_locks_is_waited_for_and_then_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 200)
    registry = open_sqlite(tmp_path)
    registry.add_case(new_case("a"))
    locker = sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")
    with pytest.raises(RegistryError, match="the registry cannot be used: database is locked"):
        registry.add_label("0001", mask(), label())
    assert registry.case("0001").label_count == 0  # readers go on
    locker.execute("ROLLBACK")
    locker.close()
    assert registry.add_label("0001", mask(), label()).number == 1
    registry.close()


def test_a_damaged_registry_is_refused_and_left_alone(tmp_path: Path) -> None:
    registry = open_sqlite(tmp_path)
    registry.add_cases([new_case(str(number)) for number in range(500)])
    registry.close()
    path = tmp_path / "registry.sqlite"
    content = bytearray(path.read_bytes())
    content[4096 : len(content) - 4096] = bytes(len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(RegistryError, match=r"registry.sqlite: .*(malformed|damaged)"):
        open_sqlite(tmp_path)
    assert path.read_bytes() == bytes(content)


def test_damage_in_a_table_is_found_by_the_check(tmp_path: Path) -> None:
    registry = open_sqlite(tmp_path)
    registry.add_cases([new_case(str(number)) for number in range(500)])
    registry.close()
    path = tmp_path / "registry.sqlite"
    content = bytearray(path.read_bytes())
    middle = len(content) * 3 // 4 // 4096 * 4096
    content[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    damaged = open_sqlite(tmp_path)
    faults = []
    try:
        faults += [fault.what for fault in damaged.check() if fault.is_loss]
    except RegistryError as error:
        faults.append(str(error))
    assert faults and ("damaged" in faults[0] or "malformed" in faults[0])
    damaged.close()


def test_another_secret_is_refused_and_none_is_made_in_its_place(tmp_path: Path) -> None:
    registry = open_sqlite(tmp_path)
    registry.add_case(new_case("a"))
    registry.close()
    secret = (tmp_path / SECRET_FILE).read_bytes()
    (tmp_path / SECRET_FILE).unlink()
    with pytest.raises(RegistryError, match=r"secret\.key: is not the secret that this registry was made with"):
        open_sqlite(tmp_path)
    assert not (tmp_path / SECRET_FILE).exists()
    (tmp_path / SECRET_FILE).write_text("not hexadecimal")
    with pytest.raises(ValueError, match="expected 64 hexadecimal digits"):
        open_sqlite(tmp_path)
    (tmp_path / SECRET_FILE).write_bytes(secret)
    again = open_sqlite(tmp_path)
    assert str(again.case("0001").source.path) == "/scans/a"
    again.close()


def test_the_secret_is_for_its_owner_alone(tmp_path: Path) -> None:
    open_sqlite(tmp_path).close()
    assert (tmp_path / SECRET_FILE).stat().st_mode & 0o777 == 0o600


def test_a_foreign_revision_is_refused_and_the_registry_stays_as_it_is(tmp_path: Path) -> None:
    registry = open_sqlite(tmp_path)
    registry.add_case(new_case("a"))
    registry.close()
    with sqlite3.connect(tmp_path / "registry.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'deadbeef'")
    connection.close()
    before = (tmp_path / "registry.sqlite").read_bytes()
    with pytest.raises(RegistryError, match="made by another version of lungapp"):
        open_sqlite(tmp_path)
    assert (tmp_path / "registry.sqlite").read_bytes() == before
