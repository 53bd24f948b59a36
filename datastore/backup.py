"""Backups: a consistent snapshot of the registry and every label file, and the way back with every hash checked.

A backup is a folder that grows: label files never change, so each backup adds the new ones and one snapshot of the
registry. The snapshot is a SQLite registry whatever database the project uses, copied in one read transaction while the
server goes on. Masks lie in it under the names they have in the project, settings, secret, models and refused uploads
under their SHA-256. Images are not part of it: they lie where they were found.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Table, func, insert, select, text

from datastore.atomic import TEMPORARY_PREFIX, atomic_path, sha256_of, write_bytes
from datastore.database import DatabaseUrl, open_engine, sqlite_url
from datastore.registry import Registry
from datastore.schema import Base, LabelRow
from datastore.secret import SECRET_FILE

SNAPSHOT = "registry-{stamp}.sqlite"
MANIFEST = "backup-{stamp}.json"
BATCH = 2000
PROJECT_FOLDERS = ("labels", "models", "rounds", "cache", "backup")
OTHER_FILES = ("lungapp.toml", SECRET_FILE, "models/**/*", "labels/*/refused/*")


class BackupError(ValueError):
    """A backup cannot be made or brought back; the message says why, and nothing was changed."""


@dataclass(frozen=True)
class BackupReport:
    """What a backup or a restore did.

    Attributes:
        stamp: When the snapshot was taken, e.g. `20260131T101500123456`.
        labels: Label files in the snapshot.
        copied: How many of them had to be copied.
        cases: Cases in the snapshot.
        lost: Label files that were missing or changed, and so are not in the backup, in a sentence each.
    """

    stamp: str
    labels: int
    copied: int
    cases: int
    lost: tuple[str, ...] = ()


def back_up(registry: Registry, project: Path, target: Path, step: Callable[..., None]) -> BackupReport:
    """Back a project up into a folder, which may hold earlier backups of it.

    A label file that is missing or changed is reported and does not keep the others from being saved.

    Args:
        registry: Of the project; it may be in use.
        project: The project's folder.
        target: The backup's folder.
        step: Called for each label file, with `total` files.

    Raises:
        BackupError: If the folder holds another project's backup, or what is to be saved.
    """
    _check_is_apart(project, target)
    target.mkdir(parents=True, exist_ok=True)
    _check_same_project(project, target)
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    snapshot = target / SNAPSHOT.format(stamp=stamp)
    with atomic_path(snapshot) as temporary:
        counts, rows = _copy_database(registry, sqlite_url(temporary))
        for leftover in ("-wal", "-shm"):
            temporary.with_name(temporary.name + leftover).unlink(missing_ok=True)
    copied, lost = 0, []
    for relative, digest in rows:
        copy = target / "labels" / relative
        if not copy.exists() or sha256_of(copy) != digest:  # disks forget, that of a backup too
            try:
                _copy_checked(registry.labels_folder / relative, copy, digest)
                copied += 1
            except BackupError as error:
                lost.append((relative, str(error)))
        step(total=len(rows))
    manifest = {
        "lungapp_backup": 1,
        "stamp": stamp,
        "registry": {"name": snapshot.name, "sha256": sha256_of(snapshot)},
        "files": {str(path.relative_to(project)): _keep(path, target) for path in _other_files(project)},
        "labels": len(rows),
        "lost": [relative for relative, _ in lost],
        "rows": counts,
    }
    write_bytes(target / MANIFEST.format(stamp=stamp), json.dumps(manifest, indent=2).encode())  # last: it is whole
    return BackupReport(stamp, len(rows), copied, counts["case"], tuple(sentence for _, sentence in lost))


def stamps(backup: Path) -> list[str]:
    """The snapshots in a backup, the oldest first."""
    return sorted(path.stem.removeprefix("backup-") for path in backup.glob("backup-*.json"))


def restore(
    backup: Path,
    target: Path,
    database_url: Callable[[Path], DatabaseUrl],
    step: Callable[..., None],
    stamp: str | None = None,
    *,
    partial: bool = False,
) -> BackupReport:
    """Bring a backup back as a new project.

    Every file is compared with its hash before anything is made.

    Args:
        backup: The backup's folder.
        target: Where the project goes; nothing may be there, or an empty folder.
        database_url: The project's database, given its folder once the settings are there.
        step: Called for each label file, with `total` files.
        stamp: Which snapshot; the newest if not given.
        partial: Whether label files that are missing or damaged in the backup are reported instead.

    Raises:
        BackupError: If something is missing or damaged, or something is in the way.
    """
    known = stamps(backup)
    if not known:
        raise BackupError(f"{backup}: no backup of lungapp in it (no backup-*.json)")
    if stamp is not None and stamp not in known:
        raise BackupError(f"{backup}: no snapshot {stamp}: expected one of {', '.join(known)}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise BackupError(f"{target}: is there already and is left as it is: expected a new folder")
    stamp = stamp or known[-1]
    manifest = _manifest(backup, stamp)
    snapshot = manifest["registry"]
    kept = {backup / "files" / digest: digest for digest in manifest["files"].values()}
    for path, digest in {backup / snapshot["name"]: snapshot["sha256"], **kept}.items():
        if not path.exists() or sha256_of(path) != digest:
            raise BackupError(f"{path}: is missing or damaged: try another snapshot of {', '.join(known)}")
    building = target.with_name(f".restoring-{target.name}")
    if building.exists():
        shutil.rmtree(building)  # ours, of a restore that was interrupted
    building.mkdir(parents=True)
    try:
        for name, digest in manifest["files"].items():
            _copy_file(backup / "files" / digest, building / name)
        with _snapshot(backup, manifest, building) as stored:
            lost = dict.fromkeys(manifest["lost"], "was missing or damaged when the backup was made")
            rows = [row for row in _label_rows(stored.engine) if row[0] not in lost]
            for relative, digest in rows:
                try:
                    _copy_checked(backup / "labels" / relative, building / "labels" / relative, digest)
                except BackupError:
                    if not partial:
                        raise
                    lost[relative] = "is missing or damaged in the backup"
                step(total=len(rows))
            for name in PROJECT_FOLDERS:
                (building / name).mkdir(exist_ok=True)
            counts = _fill_database(stored, database_url(building), building)
        if target.exists():
            target.rmdir()  # empty
        os.rename(building, target)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    sentences = (f"{target / 'labels' / relative}: {why}" for relative, why in lost.items())
    return BackupReport(stamp, len(rows), len(rows), counts["case"], tuple(sorted(sentences)))


def _manifest(backup: Path, stamp: str) -> dict[str, Any]:
    path = backup / MANIFEST.format(stamp=stamp)
    try:
        manifest = json.loads(path.read_text())
        if manifest["lungapp_backup"] != 1:
            raise BackupError(f"{path}: made by another version of lungapp")
        digests = [manifest["registry"]["sha256"], *manifest["files"].values()]
        if not all(re.fullmatch(r"[0-9a-f]{64}", str(digest)) for digest in digests):
            raise BackupError(f"{path}: damaged: expected SHA-256 digests")
        names = [manifest["registry"]["name"], *manifest["files"], *manifest["lost"]]
        if SECRET_FILE not in manifest["files"]:
            raise BackupError(f"{path}: damaged: it names no {SECRET_FILE}")
        for name in names:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise BackupError(f"{path}: damaged: {name!r} leads outside the project")
        return dict(manifest)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BackupError(f"{path}: damaged: {error}") from error


def _check_same_project(project: Path, target: Path) -> None:
    """Refuse a folder with the backup of another project: restoring it would mix two."""
    known = stamps(target)
    if known and _manifest(target, known[-1])["files"].get(SECRET_FILE) != sha256_of(project / SECRET_FILE):
        raise BackupError(f"{target}: holds the backup of another project: give each its own folder")


def _check_is_apart(project: Path, target: Path) -> None:
    """Refuse a folder in which the masks would be their own backup, or the backup part of the next one."""
    project, target = project.resolve(), target.resolve()
    if target.is_relative_to(project) and not target.is_relative_to(project / "backup"):
        raise BackupError(f"{target}: is part of the project: expected another folder, on another disk if you can")


def _other_files(project: Path) -> Iterator[Path]:
    for pattern in OTHER_FILES:
        for path in sorted(project.glob(pattern)):
            unfinished = any(part.startswith(TEMPORARY_PREFIX) for part in path.relative_to(project).parts)
            if path.is_file() and not unfinished:
                yield path


def _keep(path: Path, target: Path) -> str:
    """Copy a file into a backup under its SHA-256, which is returned."""
    digest = sha256_of(path)
    copy = target / "files" / digest
    if copy.exists() and sha256_of(copy) != digest:
        copy.unlink()  # damaged
    if not copy.exists():
        _copy_file(path, copy)
    return digest


def _copy_database(registry: Registry, url: DatabaseUrl) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Copy a registry; returns the number of rows of each table, and name and SHA-256 of each label file."""
    target = open_engine(url, registry.secret, registry.ratios)
    try:
        return _copy_rows(registry.engine, target), _label_rows(target)
    finally:
        with target.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        target.dispose()


def _fill_database(stored: Registry, url: DatabaseUrl, building: Path) -> dict[str, int]:
    registry = Registry.open(url, building / "labels", building / SECRET_FILE, stored.ratios)
    try:
        if _holds_something(registry.engine):
            raise BackupError(f"{registry.engine.url}: the database is in use already and is left as it is")
        return _copy_rows(stored.engine, registry.engine)
    finally:
        registry.close()


def _holds_something(engine: Engine) -> bool:
    """Whether there is more than what opening a new registry notes of itself."""
    with engine.connect() as connection:
        tables = [table for table in Base.metadata.sorted_tables if table.name != "fact"]
        return any(connection.execute(select(table).limit(1)).first() is not None for table in tables)


def _copy_rows(source: Engine, target: Engine) -> dict[str, int]:
    """Copy every table in one read transaction and one write transaction; returns the number of rows of each."""
    counts: dict[str, int] = {}
    isolated = source.execution_options(isolation_level="REPEATABLE READ") if _is_postgresql(source) else source
    with isolated.connect() as reading, target.execution_options(writes=True).begin() as writing:
        for table in Base.metadata.sorted_tables:
            if table.name == "fact":  # what opening the new registry noted of itself
                writing.execute(table.delete())
            counts[table.name] = 0
            for page in reading.execution_options(yield_per=BATCH).execute(_in_order(table)).partitions(BATCH):
                writing.execute(insert(table), [dict(row._mapping) for row in page])
                counts[table.name] += len(page)
        if _is_postgresql(target):
            for table in Base.metadata.sorted_tables:
                _renumber(writing, table)
    return counts


def _in_order(table: Table) -> Any:
    """Rows so that those others refer to come first: a label's parent before the label."""
    order = [table.c.number, table.c.created_at] if table.name == "label" else list(table.primary_key.columns)
    if table.name == "model":
        order = [table.c.created_at]
    return select(table).order_by(*order)


def _renumber(connection: Any, table: Table) -> None:
    """Let PostgreSQL's sequences go on after the rows that were copied."""
    column = table.autoincrement_column
    if column is not None and column.autoincrement is True:
        highest = connection.scalar(select(func.max(column)))
        if highest is not None:
            connection.execute(
                text("SELECT setval(pg_get_serial_sequence(:table, :column), :highest)"),
                {"table": f'"{table.name}"', "column": column.name, "highest": highest},
            )


def _is_postgresql(engine: Engine) -> bool:
    return engine.dialect.name == "postgresql"


@contextmanager
def _snapshot(backup: Path, manifest: dict[str, Any], building: Path) -> Iterator[Registry]:
    """The snapshot as a registry, opened on a copy so that the backup stays as it is."""
    copy = building / ".snapshot.sqlite"
    _copy_file(backup / manifest["registry"]["name"], copy)
    registry = Registry.open(sqlite_url(copy), building / "labels", building / SECRET_FILE)
    try:
        yield registry
    finally:
        registry.close()
        for leftover in ("", "-wal", "-shm"):
            copy.with_name(copy.name + leftover).unlink(missing_ok=True)


def _label_rows(engine: Engine) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        return [(path, digest) for path, digest in connection.execute(select(LabelRow.path, LabelRow.sha256))]


def _copy_checked(source: Path, target: Path, digest: str) -> None:
    """Copy a label file, refusing one that is not what its row says."""
    try:
        content = source.read_bytes()
    except FileNotFoundError as error:
        raise BackupError(f"{source}: the label's file is missing") from error
    except OSError as error:
        raise BackupError(f"{source}: the label's file cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise BackupError(f"{source}: the label's file was changed after it was stored")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(target, content, overwrite=True)  # what lies there is the same, or damaged


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError), atomic_path(target) as temporary:
        shutil.copy(source, temporary)  # with its permissions: the secret stays its owner's
