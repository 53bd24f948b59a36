"""Backups and the way back, on and between both databases."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from registries import BY_ID, HALF_HOUR, label, mask, new_case, submit_and_accept
from sqlalchemy import create_engine, event, make_url, select, text

from datastore.atomic import sha256_of
from datastore.backup import BackupError, BackupReport, back_up, restore, stamps
from datastore.database import RegistryError, sqlite_url
from datastore.records import Kind, NewDraw, NewExclusion, Source, Split, Status
from datastore.registry import CaseFilter, Registry
from datastore.schema import Base
from datastore.secret import SECRET_FILE
from datastore.user_records import Role

SETTINGS = "[project]\nname = 'study'\n"
SECRET, OTHER_SECRET = "5a" * 32, "5b" * 32  # patients fall into the same splits in every run
WORKING_PROCESS = Path(__file__).parent / "registry" / "working_process.py"
STOPS_AT_EACH_FILE = """
import sys
from pathlib import Path
from datastore.backup import {function}
from datastore.database import sqlite_url
from datastore.registry import Registry

def step(total):
    print("one file", flush=True)
    sys.stdin.readline()

{call}
"""


class Study:
    """A project's folder with its registry."""

    def __init__(self, folder: Path, database_url: str, secret: str = SECRET) -> None:
        folder.mkdir()
        (folder / "lungapp.toml").write_text(SETTINGS)
        (folder / SECRET_FILE).write_text(secret)
        (folder / SECRET_FILE).chmod(0o600)
        self.folder = folder
        self.database_url = database_url
        self.registry = Registry.open(database_url, folder / "labels")

    def back_up(self, target: Path) -> BackupReport:
        return back_up(self.registry, self.folder, target, no_step)


@pytest.fixture
def study(database_url: str, tmp_path: Path) -> Iterator[Study]:
    made = Study(tmp_path / "study", database_url)
    yield made
    made.registry.close()


@pytest.fixture
def small_study(tmp_path: Path) -> Iterator[Study]:
    """Two cases with a mask each, on SQLite."""
    made = Study(tmp_path / "study", f"sqlite:///{tmp_path / 'registry.sqlite'}")
    for name in "ab":
        case, _ = made.registry.add_case(new_case(name))
        made.registry.add_label(case, mask(), label())
    yield made
    made.registry.close()


@pytest.fixture(params=["to sqlite", "to postgresql"])
def other_database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Of a second, empty database; None for the SQLite file in the restored project."""
    if request.param == "to sqlite":
        yield None
        return
    url = make_url(request.getfixturevalue("postgres_url"))
    name = f"restored_{secrets.token_hex(4)}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield url.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def no_step(total: int) -> None:
    """A progress bar that nobody sees."""


def in_the_project(folder: Path) -> Any:
    return sqlite_url(folder / "registry.sqlite")


def bring_back(backup: Path, target: Path, url: str | None = None, stamp: str | None = None) -> Registry:
    """Restore, and open what came back."""
    restore(backup, target, lambda folder: url or in_the_project(folder), no_step, stamp)
    return Registry.open(url or in_the_project(target), target / "labels")


def rows_of(registry: Registry) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""
    with registry.engine.connect() as connection:
        return {
            table.name: [
                dict(row._mapping) for row in connection.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for table in Base.metadata.sorted_tables
        }


def fill(registry: Registry) -> None:
    """Something in every table."""
    for number in range(6):
        registry.add_case(
            new_case(f"s{number}", study_uid=f"1.{number}", patient=f"patient-{number}", cohort="routine", tags=("ct",))
        )
    registry.add_case(new_case("short", study_uid="1.9", exclusion="62 slices < 100"))
    registry.note_exclusions([NewExclusion(Source(Path("/scans/mr"), "1.2.9"), "modality MR")])
    registry.overrule("0007", "the only fibrosis", "mia")
    registry.set_phenotype("0002", "fibrosis", "mia")
    registry.record_draws("r1", [NewDraw("0001", "random", seed=3, reason="by lot"), NewDraw("0002", "phenotype")])
    training = [case.id for case in registry.cases(CaseFilter(split=Split.TRAIN))]
    accepted = submit_and_accept(registry, training[0])
    registry.add_label("0002", mask(), label(Kind.PRELIMINARY, model="threshold-1"))
    registry.lease_case("0002", "slicer-ann", HALF_HOUR)
    registry.add_label("0002", mask(2), label(Kind.DRAFT, seconds=12.5))
    bobs = registry.add_label("0003", mask(1), label(by="bob"))
    registry.lease_case("0003", "slicer-cid", timedelta(0))
    registry.add_label("0003", mask(2), label(by="cid", parent=bobs.id))
    registry.add_label("0003", mask(0), label(by="bob", parent=bobs.id))
    registry.skip("0004", "slicer-ann", "too noisy")
    registry.lease_next(BY_ID, "slicer-bob", HALF_HOUR)
    registry.add_model("unet-1", "unet", "ab" * 32, metrics={"dice": 0.97})
    entered = registry.request_round("count", {"epochs": 3}, 5)
    assert entered is not None
    registry.begin_round(entered.number)
    registry.snapshot_round(entered.number, [accepted])
    registry.add_model("unet-0", "unet", "cd" * 32, parent="unet-1", round_number=entered.number)
    registry.add_user("ann", Role.ANNOTATOR)


def test_a_restored_project_is_the_very_same_on_either_database_and_goes_on(
    study: Study, other_database_url: str | None, tmp_path: Path
) -> None:
    fill(study.registry)
    before = rows_of(study.registry)
    assert [name for name, rows in before.items() if not rows] == []
    report = study.back_up(tmp_path / "backup")
    assert (report.cases, report.labels, report.copied, report.lost) == (7, 6, 6, ())
    again = bring_back(tmp_path / "backup", tmp_path / "again", other_database_url)
    assert rows_of(again) == before
    for name in ("cases", "leases", "events", "draws", "rounds", "models", "users", "exclusions", "counts"):
        assert getattr(again, name)() == getattr(study.registry, name)()
    for case_id in again.case_ids():
        for mine, theirs in zip(again.labels(case_id), study.registry.labels(case_id), strict=True):
            assert mine.path != theirs.path
            assert mine.path.read_bytes() == theirs.path.read_bytes()
    assert (tmp_path / "again" / "lungapp.toml").read_text() == SETTINGS

    assert again.add_case(new_case("new", study_uid="1.10", patient="patient-1"))[0].id == "0008"
    assert again.add_case(new_case("new"))[0].id == "0008"
    assert again.case("0008").split is again.case("0002").split
    assert again.add_label("0003", mask(1), label(by="bob")).number == study.registry.case("0003").label_count + 1
    given = again.lease_next(BY_ID, "slicer-dora", HALF_HOUR)
    assert given is not None and given.case_id not in {lease.case_id for lease in study.registry.leases()}
    again.record_draws("r1", [NewDraw("0008", "random")])
    queued = again.request_round("count", {}, 5)
    assert queued is not None and queued.number == 2
    numbers = [row["id"] for row in rows_of(again)["event"]]
    assert numbers == sorted(set(numbers)) and len(numbers) > len(before["event"])
    assert list(again.check()) == []
    again.close()
    assert rows_of(study.registry) == before


def test_a_snapshot_is_consistent_while_others_go_on_submitting(study: Study, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "OMP_NUM_THREADS": "1"}
    worker = subprocess.Popen(
        [sys.executable, str(WORKING_PROCESS), study.database_url, str(study.folder), "worker"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    acknowledged: dict[str, list[str]] = {}
    seen: list[str] = []
    assert worker.stdout is not None
    try:
        for _ in range(3):
            while sum(line.startswith("label") for line in seen) < 5 * (len(acknowledged) + 1):
                seen.append(worker.stdout.readline())
            known = [line.split()[1] for line in seen if line.startswith("label")]
            acknowledged[study.back_up(tmp_path / "backup").stamp] = known
    finally:
        worker.kill()
        worker.wait()
    worker.stdout.close()
    sizes = []
    for number, (stamp, label_ids) in enumerate(acknowledged.items()):
        again = bring_back(tmp_path / "backup", tmp_path / f"again-{number}", stamp=stamp)
        stored = rows_of(again)["label"]
        sizes.append(len(stored))
        assert set(label_ids) <= {row["id"] for row in stored}
        for row in stored:
            assert sha256_of(tmp_path / "backup" / "labels" / row["path"]) == row["sha256"]
        assert list(again.check()) == []
        again.close()
    assert sizes == sorted(set(sizes)), "the worker worked on between the snapshots"


@pytest.mark.parametrize("table", ["draw", "label", "tally"])
def test_what_is_submitted_between_two_tables_is_not_half_in_the_snapshot(
    study: Study, tmp_path: Path, table: str
) -> None:
    study.registry.add_case(new_case("a"))
    other = Registry.open(study.database_url, study.folder / "labels")

    def submit_meanwhile(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if f"FROM {table} " in statement and len(other.case_ids()) == 1:
            submit_and_accept(other, other.add_case(new_case("b", study_uid="1.7"))[0].id)

    event.listen(study.registry.engine, "before_cursor_execute", submit_meanwhile)
    study.back_up(tmp_path / "backup")
    assert len(other.case_ids()) == 2
    other.close()
    again = bring_back(tmp_path / "backup", tmp_path / "again")
    assert again.case_ids() == ["0001"]
    assert {item.case_id for item in again.events()} == {"0001"}
    assert list(again.check()) == []
    again.close()


def test_a_second_backup_copies_new_files_alone_and_both_can_be_brought_back(
    small_study: Study, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    first = small_study.back_up(backup)
    assert (first.labels, first.copied) == (2, 2)
    before = {path: path.stat().st_mtime_ns for path in backup.rglob("*") if path.is_file()}
    small_study.registry.add_label("0001", mask(2), label())
    second = small_study.back_up(backup)
    assert (second.labels, second.copied) == (3, 1)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert stamps(backup) == [first.stamp, second.stamp]
    older = bring_back(backup, tmp_path / "older", stamp=first.stamp)
    assert [len(older.labels(case_id)) for case_id in older.case_ids()] == [1, 1]
    assert list(older.check()) == []
    older.close()
    newest = bring_back(backup, tmp_path / "newest")
    assert [len(newest.labels(case_id)) for case_id in newest.case_ids()] == [2, 1]
    newest.close()


def test_secret_models_settings_and_refused_uploads_come_back(small_study: Study, tmp_path: Path) -> None:
    folder = small_study.folder
    files = {
        "models/current": b"unet-1",
        "models/unet-1/weights.safetensors": b"weights",
        "labels/0001/refused/20260101T000000-0a0a0a0a.nii.gz": b"my work",
        "labels/0009/refused/20260101T000000-0b0b0b0b.bin": b"my work",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "models" / "unet-1" / ".writing-0a0a-weights").write_bytes(b"half of")
    (folder / "models" / ".writing-0b0b-unet-2").mkdir()
    (folder / "models" / ".writing-0b0b-unet-2" / "weights.safetensors").write_bytes(b"an import under way")
    small_study.back_up(tmp_path / "backup")
    bring_back(tmp_path / "backup", tmp_path / "again").close()
    for name, content in files.items():
        assert (tmp_path / "again" / name).read_bytes() == content
    assert not list((tmp_path / "again").rglob(".*"))  # half files, and the copy of the snapshot
    for place in (folder, tmp_path / "again"):
        assert (place / SECRET_FILE).stat().st_mode & 0o777 == 0o600
    kept = tmp_path / "backup" / "files" / sha256_of(folder / SECRET_FILE)
    assert kept.stat().st_mode & 0o777 == 0o600
    names = {path.name for path in (tmp_path / "again").iterdir()}
    assert names >= {"labels", "models", "rounds", "cache", "backup", "lungapp.toml", "registry.sqlite", SECRET_FILE}


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def the_label(backup: Path) -> Path:
    return next((backup / "labels" / "0002").iterdir())


def the_secret(backup: Path) -> Path:
    manifest = json.loads(next(backup.glob("backup-*.json")).read_text())
    return backup / "files" / manifest["files"][SECRET_FILE]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def forget_the_secret(manifest: Path) -> None:
    content = json.loads(manifest.read_text())
    del content["files"][SECRET_FILE]
    manifest.write_text(json.dumps(content))


def lead_outside(manifest: Path) -> None:
    content = json.loads(manifest.read_text())
    content["files"]["../outside"] = content["files"]["lungapp.toml"]
    manifest.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda backup: damage(the_label(backup)), "was changed after it was stored"),
        (lambda backup: the_label(backup).unlink(), "the label's file is missing"),
        (lambda backup: damage(next(backup.glob("registry-*.sqlite"))), "sqlite: is missing or damaged"),
        (lambda backup: next(backup.glob("registry-*.sqlite")).unlink(), "sqlite: is missing or damaged"),
        (lambda backup: the_secret(backup).unlink(), "is missing or damaged"),
        (lambda backup: damage(the_secret(backup)), "is missing or damaged"),
        (lambda backup: cut(next(backup.glob("backup-*.json"))), r"json: damaged"),
        (lambda backup: next(backup.glob("backup-*.json")).write_bytes(b""), r"json: damaged"),
        (lambda backup: next(backup.glob("backup-*.json")).write_text("[]"), r"json: damaged"),
        (lambda backup: next(backup.glob("backup-*.json")).write_text('{"lungapp_backup": 2}'), "another version"),
        (lambda backup: forget_the_secret(next(backup.glob("backup-*.json"))), r"names no secret\.key"),
        (lambda backup: lead_outside(next(backup.glob("backup-*.json"))), "leads outside"),
        (lambda backup: next(backup.glob("backup-*.json")).unlink(), "no backup of lungapp in it"),
    ],
)
def test_a_damaged_backup_is_refused_and_nothing_is_made(
    small_study: Study, tmp_path: Path, harm: Callable[[Path], object], reason: str
) -> None:
    small_study.back_up(tmp_path / "backup")
    harm(tmp_path / "backup")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BackupError, match=reason):
        bring_back(tmp_path / "backup", tmp_path / "again")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_in_the_way_is_left_as_it_is(small_study: Study, tmp_path: Path) -> None:
    small_study.back_up(tmp_path / "backup")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("there", "file", "study"):
        with pytest.raises(BackupError, match=f"{name}: is there already and is left as it is"):
            bring_back(tmp_path / "backup", tmp_path / name)
    assert (tmp_path / "there" / "thesis.txt").read_text() == (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    bring_back(tmp_path / "backup", tmp_path / "empty").close()
    with pytest.raises(BackupError, match="no snapshot yesterday: expected one of"):
        bring_back(tmp_path / "backup", tmp_path / "again", stamp="yesterday")


def test_the_folder_of_another_projects_backup_is_refused(small_study: Study, tmp_path: Path) -> None:
    small_study.back_up(tmp_path / "backup")
    before = sorted((tmp_path / "backup").rglob("*"))
    other = Study(tmp_path / "other", f"sqlite:///{tmp_path / 'other.sqlite'}", OTHER_SECRET)
    with pytest.raises(BackupError, match="holds the backup of another project"):
        other.back_up(tmp_path / "backup")
    other.registry.close()
    assert sorted((tmp_path / "backup").rglob("*")) == before


@pytest.mark.parametrize("place", [".", "labels", "models/backup", "rounds"])
def test_a_backup_does_not_go_into_what_it_saves(small_study: Study, place: str) -> None:
    with pytest.raises(BackupError, match="is part of the project"):
        small_study.back_up(small_study.folder / place)
    assert not list(small_study.folder.rglob("backup-*.json"))
    assert small_study.back_up(small_study.folder / "backup").labels == 2


def test_a_database_that_is_in_use_is_refused_and_left_as_it_is(
    small_study: Study, database_url: str, tmp_path: Path
) -> None:
    if database_url == small_study.database_url:
        database_url = f"sqlite:///{tmp_path / 'used.sqlite'}"
    small_study.back_up(tmp_path / "backup")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / SECRET_FILE).write_bytes((small_study.folder / SECRET_FILE).read_bytes())
    used = Registry.open(database_url, tmp_path / "used" / "labels")
    used.add_user("ann", Role.ANNOTATOR)
    before = rows_of(used)
    for _ in range(2):
        with pytest.raises(BackupError, match="is in use already and is left as it is"):
            bring_back(tmp_path / "backup", tmp_path / "again", database_url)
        assert rows_of(used) == before
        used.add_case(new_case("c", exclusion="coronal"))
        before = rows_of(used)
    used.close()
    assert not (tmp_path / "again").exists()


def test_the_database_of_another_project_is_refused(small_study: Study, tmp_path: Path) -> None:
    small_study.back_up(tmp_path / "backup")
    other = Study(tmp_path / "other", f"sqlite:///{tmp_path / 'other.sqlite'}", OTHER_SECRET)
    other.registry.close()
    with pytest.raises(RegistryError, match="is not the secret that this registry was made with"):
        bring_back(tmp_path / "backup", tmp_path / "again", other.database_url)
    assert not (tmp_path / "again").exists()


def missing(path: Path) -> None:
    path.unlink()


def unreadable(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (missing, "the label's file is missing"),
        (damage, "was changed after it was stored"),
        (unreadable, "the label's file cannot be read: Is a directory"),
    ],
)
def test_a_lost_mask_is_reported_and_the_others_are_saved(
    small_study: Study, tmp_path: Path, harm: Callable[[Path], None], reason: str
) -> None:
    (lost,) = small_study.registry.labels("0001")
    harm(lost.path)
    report = small_study.back_up(tmp_path / "backup")
    assert (report.labels, report.copied) == (2, 1)
    assert [reason in sentence and lost.id in sentence for sentence in report.lost] == [True]
    assert len(list((tmp_path / "backup" / "labels").glob("*/*"))) == 1
    brought = restore(tmp_path / "backup", tmp_path / "again", in_the_project, no_step)
    assert brought.labels == 1
    assert [lost.id in sentence for sentence in brought.lost] == [True]
    again = Registry.open(in_the_project(tmp_path / "again"), tmp_path / "again" / "labels")
    assert again.case("0001").status is Status.SUBMITTED
    assert [fault.is_loss for fault in again.check()] == [True]
    again.close()


def test_a_mask_that_was_saved_earlier_outlives_its_loss(small_study: Study, tmp_path: Path) -> None:
    small_study.back_up(tmp_path / "backup")
    (saved,) = small_study.registry.labels("0001")
    saved.path.unlink()
    assert small_study.back_up(tmp_path / "backup").lost == ()
    again = bring_back(tmp_path / "backup", tmp_path / "again")
    assert list(again.check()) == []
    again.close()


def test_an_interrupted_restore_leaves_nothing_and_can_be_done_again(
    small_study: Study, other_database_url: str | None, tmp_path: Path
) -> None:
    small_study.back_up(tmp_path / "backup")
    before = sorted(tmp_path.rglob("*"))

    def interrupted(total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(
            tmp_path / "backup",
            tmp_path / "again",
            lambda folder: other_database_url or in_the_project(folder),
            interrupted,
        )
    assert sorted(tmp_path.rglob("*")) == before
    again = bring_back(tmp_path / "backup", tmp_path / "again", other_database_url)
    assert len(again.case_ids()) == 2
    again.close()


def stopping_process(function: str, call: str) -> subprocess.Popen[str]:
    """A backup or a restore in a process of its own, which waits for a line after each file."""
    return subprocess.Popen(
        [sys.executable, "-c", STOPS_AT_EACH_FILE.format(function=function, call=call)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def kill_at_the_first_file(function: str, call: str) -> None:
    process = stopping_process(function, call)
    assert process.stdout is not None
    assert process.stdout.readline() == "one file\n"
    process.kill()
    process.communicate()


def test_a_backup_that_is_killed_leaves_the_earlier_ones_and_the_next_is_whole(
    small_study: Study, tmp_path: Path
) -> None:
    first = small_study.back_up(tmp_path / "backup")
    for value in (0, 2):
        small_study.registry.add_label("0001", mask(value), label())
    opened = f"Registry.open({small_study.database_url!r}, Path({str(small_study.folder)!r}) / 'labels')"
    kill_at_the_first_file(
        "back_up", f"back_up({opened}, Path({str(small_study.folder)!r}), Path({str(tmp_path / 'backup')!r}), step)"
    )
    assert stamps(tmp_path / "backup") == [first.stamp]
    bring_back(tmp_path / "backup", tmp_path / "earlier").close()
    second = small_study.back_up(tmp_path / "backup")
    assert second.labels == 4
    again = bring_back(tmp_path / "backup", tmp_path / "again")
    assert len(again.labels("0001")) == 3
    assert list(again.check()) == []
    again.close()


def test_a_restore_that_is_killed_leaves_nothing_in_the_targets_place(small_study: Study, tmp_path: Path) -> None:
    small_study.back_up(tmp_path / "backup")
    target = tmp_path / "again"
    url = "lambda folder: sqlite_url(folder / 'registry.sqlite')"
    kill_at_the_first_file(
        "restore", f"restore(Path({str(tmp_path / 'backup')!r}), Path({str(target)!r}), {url}, step)"
    )
    assert not target.exists()
    bring_back(tmp_path / "backup", target).close()
    assert not list(tmp_path.glob(".restoring-*"))


def test_two_backups_into_one_folder_at_once_are_both_whole(small_study: Study, tmp_path: Path) -> None:
    for number in range(10):
        small_study.registry.add_label("0001", mask(number % 3), label())
    opened = f"Registry.open({small_study.database_url!r}, Path({str(small_study.folder)!r}) / 'labels')"
    call = f"back_up({opened}, Path({str(small_study.folder)!r}), Path({str(tmp_path / 'backup')!r}), step)"
    both = [stopping_process("back_up", call) for _ in range(2)]
    for _ in range(12):  # file by file, side by side
        for process in both:
            assert process.stdout is not None
            assert process.stdout.readline() == "one file\n"
        for process in both:
            assert process.stdin is not None
            process.stdin.write("go on\n")
            process.stdin.flush()
    for process in both:
        process.communicate()
        assert process.returncode == 0
    made = stamps(tmp_path / "backup")
    assert len(made) == 2
    for number, stamp in enumerate(made):
        bring_back(tmp_path / "backup", tmp_path / f"again-{number}", stamp=stamp).close()
