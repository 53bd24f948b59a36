from __future__ import annotations

import os
import sqlite3
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from registries import SHAPE, label, mask, new_case, next_case

from datastore.database import RegistryError
from datastore.geometry import Geometry
from datastore.image_files import read_mask
from datastore.records import Kind, Source, Status
from datastore.registry import Registry, UnknownCaseError
from datastore.schema import Base
from datastore.volume import Volume


def test_a_case_comes_back_as_it_was_registered(registry: Registry) -> None:
    case, is_new = registry.add_case(new_case("a", "1.2.3"))
    assert is_new
    assert case.id == "0001"
    assert case.source == Source(Path("/scans/a"), "1.2.3")
    assert case.shape == SHAPE
    assert case.geometry == Geometry((0.7, 0.8, 2.5))
    assert (case.study_uid, case.description, case.status) == ("1.2", "Thorax", Status.OPEN)
    assert registry.case("0001") == case
    assert registry.cases() == [case]


def test_a_series_is_one_case_however_often_it_is_added(registry: Registry) -> None:
    first, _ = registry.add_case(new_case("a", "1.2.3"))
    again, is_new = registry.add_case(new_case("a", "1.2.3"))
    assert not is_new
    assert again == first
    assert registry.add_case(new_case("elsewhere"))[1]
    assert not registry.add_case(new_case("elsewhere"))[1]
    assert [case.id for case in registry.cases()] == ["0001", "0002"]


def test_a_series_that_was_moved_is_found_again_and_a_copy_changes_nothing(registry: Registry, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    new = replace(new_case("x"), source=Source(here, "1.2.3"))
    registry.add_case(new)
    registry.add_label("0001", mask(), label())
    there.mkdir()
    assert registry.add_case(replace(new, source=Source(there, "1.2.3")))[0].source.path == here
    here.rmdir()
    assert registry.add_case(replace(new, source=Source(there, "1.2.3")))[0].source.path == there


def test_a_series_that_grew_is_registered_anew_until_somebody_worked_on_it(registry: Registry) -> None:
    first = new_case("a", "1.2.3")
    registry.add_case(first)
    grown = replace(first, shape=(4, 4, 5))
    case, is_new = registry.add_case(grown)
    assert not is_new
    assert (case.id, case.shape) == ("0001", (4, 4, 5))
    registry.add_label("0001", Volume(np.zeros((4, 4, 5), np.uint8), case.geometry), label(Kind.PRELIMINARY))
    for other in (first, replace(grown, geometry=Geometry((0.7, 0.8, 2.5), (0.0, 0.0, 10.0)))):
        with pytest.raises(ValueError, match="is case 0001 already"):
            registry.add_case(other)
    assert registry.case("0001").shape == (4, 4, 5)


def test_a_submitted_mask_stays_the_best_whatever_a_model_says_later(registry: Registry) -> None:
    registry.add_case(new_case("a"))
    assert registry.best_label("0001") is None
    first = registry.add_label("0001", mask(1), label(Kind.PRELIMINARY))
    assert registry.best_label("0001") == first
    submitted = registry.add_label("0001", mask(2), label())
    later = registry.add_label("0001", mask(1), label(Kind.PRELIMINARY))
    assert registry.best_label("0001") == submitted
    assert later.parent is None
    assert registry.add_label("0001", mask(2), label()).parent == submitted.id


def test_a_released_case_is_free_again(registry: Registry) -> None:
    registry.add_case(new_case("a"))
    assert next_case(registry, "ann") == "0001"
    registry.release("0001", "bob")
    assert registry.case("0001").leased_by == "ann"
    registry.release("0001", "ann")
    assert next_case(registry, "bob") == "0001"


def test_every_label_is_a_version_and_none_changes_the_ones_before(registry: Registry) -> None:
    registry.add_case(new_case("a"))
    first = registry.add_label("0001", mask(1), label(Kind.PRELIMINARY, model="threshold-1"))
    assert registry.case("0001").status is Status.PRELIMINARY
    before = first.path.read_bytes()
    second = registry.add_label("0001", mask(2), label())
    third = registry.add_label("0001", mask(0), label())
    assert [item.id for item in registry.labels("0001")] == [first.id, second.id, third.id]
    assert [item.number for item in registry.labels("0001")] == [1, 2, 3]
    assert [item.parent for item in registry.labels("0001")] == [None, first.id, second.id]
    assert first.path.read_bytes() == before
    for item, value in ((first, 1), (second, 2), (third, 0)):
        assert (read_mask(item.path).array == value).all()
    assert registry.latest_label("0001") == third
    assert registry.latest_label("0001", Kind.PRELIMINARY) == first
    assert registry.latest_label("0001", Kind.PRELIMINARY, model="unet-abc") is None
    assert registry.case("0001").status is Status.SUBMITTED


def test_counts_follow_the_labels(registry: Registry) -> None:
    for name in "abc":
        registry.add_case(new_case(name))
    registry.add_label("0001", mask(), label(Kind.PRELIMINARY))
    registry.add_label("0002", mask(), label(Kind.PRELIMINARY))
    registry.add_label("0002", mask(), label())
    counts = registry.counts()
    assert (counts.total, counts.completed) == (3, 1)
    assert counts.by_status == {Status.OPEN: 1, Status.PRELIMINARY: 1, Status.SUBMITTED: 1}


def test_a_mask_of_another_shape_is_refused_and_nothing_is_stored(registry: Registry) -> None:
    registry.add_case(new_case("a"))
    with pytest.raises(ValueError, match=r"mask grid \(5, 4, 2\) does not match image \(5, 4, 3\) of case 0001"):
        registry.add_label("0001", Volume(np.zeros((2, 4, 5), np.uint8), Geometry((1.0, 1.0, 1.0))), label())
    assert registry.labels("0001") == []
    assert list(registry.check()) == []


@pytest.mark.parametrize("method", ["case", "labels"])
def test_an_unknown_case_is_said_to_be_unknown(registry: Registry, method: str) -> None:
    with pytest.raises(UnknownCaseError, match="no case '0007'"):
        getattr(registry, method)("0007")


def test_two_annotators_never_hold_one_case(registry: Registry) -> None:
    for name in "abc":
        registry.add_case(new_case(name))
    assert [next_case(registry, holder) for holder in ("ann", "bob", "cid", "dan")] == ["0001", "0002", "0003", None]


def test_asking_again_means_to_move_on_and_comes_back_when_nothing_else_is_left(registry: Registry) -> None:
    for name in "ab":
        registry.add_case(new_case(name))
    assert [next_case(registry, "ann") for _ in range(3)] == ["0001", "0002", "0001"]


def test_an_expired_lease_frees_its_case(registry: Registry) -> None:
    registry.add_case(new_case("a"))
    assert next_case(registry, "ann", timedelta(seconds=-1)) == "0001"
    assert registry.case("0001").leased_by is None
    assert next_case(registry, "bob") == "0001"
    assert registry.case("0001").leased_by == "bob"


def test_a_submitted_case_is_free_of_its_lease_and_never_offered_again(registry: Registry) -> None:
    registry.add_case(new_case("a"))
    assert next_case(registry, "ann") == "0001"
    registry.add_label("0001", mask(), label())
    assert registry.case("0001").leased_by is None
    assert next_case(registry, "ann") is None
    assert next_case(registry, "bob") is None


def test_fifty_annotators_who_ask_at_once_get_fifty_cases(registry: Registry) -> None:
    for number in range(50):
        registry.add_case(new_case(str(number)))
    given: list[str | None] = []
    threads = [threading.Thread(target=lambda name=str(n): given.append(next_case(registry, name))) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(given)) == 50
    assert None not in given


def test_versions_written_at_once_are_numbered_without_a_gap(registry: Registry) -> None:
    registry.add_case(new_case("a"))
    threads = [threading.Thread(target=registry.add_label, args=("0001", mask(), label())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item.number for item in registry.labels("0001")] == list(range(1, 21))


def test_check_finds_what_is_missing_changed_or_left_over(registry: Registry) -> None:
    registry.add_case(new_case("a"))
    missing, changed, sound = (registry.add_label("0001", mask(value), label()) for value in (0, 1, 2))
    missing.path.unlink()
    changed.path.write_bytes(b"x" + changed.path.read_bytes()[1:])
    orphan = sound.path.with_name("0001-00000000.nii.gz")
    orphan.write_bytes(sound.path.read_bytes())
    young = sound.path.with_name("0001-11111111.nii.gz")  # a submission whose row is not written yet
    young.write_bytes(sound.path.read_bytes())
    os.utime(orphan, (0, 0))
    sentences = [fault.what for fault in registry.check()]
    assert len(sentences) == 3
    for path, what in ((missing.path, "missing"), (changed.path, "changed"), (orphan, "does not know")):
        assert any(path.name in sentence and what in sentence for sentence in sentences)


def test_a_registry_opens_again_with_all_it_had(database_url: str, tmp_path: Path) -> None:
    first = Registry.open(database_url, tmp_path / "labels")
    first.add_case(new_case("a"))
    first.add_label("0001", mask(), label())
    cases, labels = first.cases(), first.labels("0001")
    first.close()
    second = Registry.open(database_url, tmp_path / "labels")
    assert second.cases() == cases
    assert second.labels("0001") == labels
    second.close()


def open_sqlite(folder: Path) -> Registry:
    return Registry.open(f"sqlite:///{folder / 'registry.sqlite'}", folder / "labels")


def test_sqlite_is_set_to_survive(tmp_path: Path) -> None:
    registry = open_sqlite(tmp_path)
    with registry.engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}
    registry.close()


def test_the_migrations_make_the_tables_that_the_models_say(registry: Registry) -> None:
    with registry.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_what_is_no_registry_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "registry.sqlite"
    path.write_bytes(b"this is no database, it is a text\n" * 50)
    before = path.read_bytes()
    with pytest.raises(RegistryError, match="registry.sqlite: cannot be opened: file is not a database"):
        open_sqlite(tmp_path)
    assert path.read_bytes() == before


def test_a_registry_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    open_sqlite(tmp_path).close()
    with sqlite3.connect(tmp_path / "registry.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(RegistryError, match="made by another version of lungapp"):
        open_sqlite(tmp_path)


@pytest.mark.parametrize("url", ["nonsense", "oracle9://x/y", "postgresql+psycopg://nobody@/none?host=/nowhere"])
def test_a_database_that_cannot_be_reached_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError):
        Registry.open(url, tmp_path)
