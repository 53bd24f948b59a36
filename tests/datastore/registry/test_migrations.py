"""A registry of an earlier version is carried forward with everything in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from registries import DOUBTFUL, GRID, HALF_HOUR, SHAPE, label, mask, new_case, next_case
from sqlalchemy import Engine, inspect, text

from datastore.atomic import sha256_of
from datastore.database import migrate, open_engine
from datastore.image_files import write_mask
from datastore.patients import SplitRatios
from datastore.records import Kind, Split, Status
from datastore.registry import Registry
from datastore.round_records import RoundState
from datastore.schema import Base
from datastore.secret import ProjectSecret

NOW = datetime(2026, 1, 31, 10, 15, tzinfo=UTC)
RATIOS = SplitRatios()


def insert(connection: Any, table: str, **values: Any) -> None:
    plain = {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in values.items()}
    columns, places = ", ".join(f'"{name}"' for name in plain), ", ".join(f":{name}" for name in plain)
    connection.execute(text(f'INSERT INTO "{table}" ({columns}) VALUES ({places})'), plain)


def at_revision(url: str, secret_file: Path, revision: str) -> Engine:
    """An empty registry as a revision left it."""
    secret = ProjectSecret.at(secret_file)
    engine = open_engine(url, secret, RATIOS)
    with engine.begin() as connection:
        for table in ("alembic_version", *reversed([item.name for item in Base.metadata.sorted_tables])):
            connection.execute(text(f'DROP TABLE "{table}"'))
        if engine.dialect.name == "postgresql":
            connection.execute(text("DROP FUNCTION lungapp_append_only"))
    with engine.execution_options(writes=True).begin() as connection:
        migrate(connection, secret, RATIOS, revision)
    return engine


def make_first_version(url: str, folder: Path) -> dict[str, str]:
    """A registry as revision 0001 left it: three cases, four masks, two leases; returns SHA-256 by label id."""
    engine = at_revision(url, folder / "other.key", "0001")
    digests = {}
    with engine.execution_options(writes=True).begin() as connection:
        for number, (uid, study) in enumerate([("1.2.3", "1.2"), ("1.2.4", "1.2"), (None, None)], start=1):
            insert(
                connection, "case", id=f"{number:04d}", source_key=f"dicom:{uid}" if uid else "file:/scans/c.nii.gz",
                path=f"/scans/{'abc'[number - 1]}" + ("" if uid else ".nii.gz"), series_uid=uid, study_uid=study,
                description="Thorax", sha256=None if uid else "0" * 64, shape=list(SHAPE), geometry=GRID.to_dict(),
                added_at=NOW,
            )  # fmt: skip
        previous = None
        for number, (case_id, kind) in enumerate(
            [("0001", "preliminary"), ("0001", "submitted"), ("0001", "submitted"), ("0002", "preliminary")]
        ):
            label_id = f"{case_id}-0000000{number}"
            path = folder / "labels" / case_id / f"{label_id}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mask(mask(number % 3), path)
            digests[label_id] = sha256_of(path)
            insert(
                connection, "label", id=label_id, case_id=case_id, number=number + 1, kind=kind, author="local",
                tool="3D Slicer", client_id="slicer-1", model=None, sha256=digests[label_id],
                parent_id=previous if kind == "submitted" else None, path=f"{case_id}/{label_id}.nii.gz",
                created_at=NOW,
            )  # fmt: skip
            previous = label_id
        for case_id, ended in (("0001", NOW), ("0002", None)):
            later = datetime.now(UTC) + timedelta(hours=1)
            insert(
                connection,
                "lease",
                case_id=case_id,
                holder="slicer-1",
                granted_at=NOW,
                expires_at=later,
                ended_at=ended,
            )
    engine.dispose()
    return digests


def test_every_case_label_and_lease_of_the_first_version_is_there(database_url: str, tmp_path: Path) -> None:
    digests = make_first_version(database_url, tmp_path)
    registry = Registry.open(database_url, tmp_path / "labels")
    cases = registry.cases()
    assert [(case.id, case.status, case.label_count) for case in cases] == [
        ("0001", Status.SUBMITTED, 3),
        ("0002", Status.PRELIMINARY, 1),
        ("0003", Status.OPEN, 0),
    ]
    assert [str(case.source.path) for case in cases] == ["/scans/a", "/scans/b", "/scans/c.nii.gz"]
    assert [case.source.series_uid for case in cases] == ["1.2.3", "1.2.4", None]
    assert all((case.shape, case.geometry, case.added_at) == (SHAPE, GRID, NOW) for case in cases)
    labels = registry.labels("0001") + registry.labels("0002")
    assert {item.id: item.sha256 for item in labels} == digests
    assert [item.kind for item in labels] == [
        Kind.PRELIMINARY,
        Kind.SUPERSEDED,
        Kind.SUBMITTED,
        Kind.PRELIMINARY,
    ]
    assert [item.made_as for item in labels] == [Kind.PRELIMINARY, Kind.SUBMITTED, Kind.SUBMITTED, Kind.PRELIMINARY]
    assert labels[2].parent == labels[1].id == "0001-00000001"
    assert cases[0].head == labels[2].id
    assert registry.counts().by_status == {Status.SUBMITTED: 1, Status.PRELIMINARY: 1, Status.OPEN: 1}
    assert (cases[1].leased_by, cases[0].leased_by) == ("slicer-1", None)
    assert list(registry.check()) == []
    registry.close()


def test_what_was_carried_over_can_be_worked_with(database_url: str, tmp_path: Path) -> None:
    make_first_version(database_url, tmp_path)
    registry = Registry.open(database_url, tmp_path / "labels")
    one, two, three = registry.cases()
    assert one.patient == two.patient != three.patient
    assert one.split is two.split and three.split in Split
    assert not registry.add_case(new_case("a", "1.2.3"))[1]
    assert registry.add_case(new_case("a", "1.2.3", patient="p1"))[0].patient == "p1"
    assert registry.add_case(new_case("d"))[0].id == "0004"
    assert next_case(registry, "ann") == "0003"
    head = one.head
    assert head is not None
    registry.record_findings(head, (DOUBTFUL,), "lungapp")
    assert registry.accept(head, "rita", "right").kind is Kind.ACCEPTED
    assert registry.lease_case("0002", "slicer-1", HALF_HOUR).granted_at == NOW
    submitted = registry.add_label("0002", mask(), label(by="local", client_id="slicer-1"))
    assert not submitted.conflict
    registry.close()


def test_a_registry_that_was_carried_forward_is_like_a_new_one(database_url: str, tmp_path: Path) -> None:
    make_first_version(database_url, tmp_path)
    registry = Registry.open(database_url, tmp_path / "labels")
    with registry.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        indexes = {
            item["name"] for table in ("case", "label", "lease") for item in inspect(connection).get_indexes(table)
        }
        if registry.engine.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
            live = connection.exec_driver_sql(
                "SELECT sql FROM sqlite_master WHERE name = 'uq_lease_live_case'"
            ).scalar()
            assert "UNIQUE" in live and "WHERE ended_at IS NULL" in live
    assert {"uq_lease_live_case", "ix_case_offered_rank", "ix_label_case_id_kind"} <= indexes
    with pytest.raises(Exception, match="append-only"), registry.engine.begin() as connection:
        connection.execute(text("DELETE FROM label"))
    registry.close()


def test_places_of_the_first_version_are_not_readable_afterwards(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'registry.sqlite'}"
    make_first_version(url, tmp_path)
    registry = Registry.open(url, tmp_path / "labels")
    with registry.engine.connect() as connection:
        rows = connection.execute(text('SELECT * FROM "case"')).all()
    assert "scans" not in str(rows)
    for path in tmp_path.glob("registry.sqlite*"):
        assert b"/scans/" not in path.read_bytes()
    registry.close()


def test_of_several_rounds_that_waited_the_newest_stays(database_url: str, tmp_path: Path) -> None:
    engine = at_revision(database_url, tmp_path / "secret.key", "0002")
    with engine.execution_options(writes=True).begin() as connection:
        for state in ("published", "queued", "running", "queued", "queued"):
            insert(
                connection, "round", trigger="count", state=state, active=state == "running", config={"epochs": 3},
                seed=1, metrics={"dice": 0.9}, queued_at=NOW,
            )  # fmt: skip
    engine.dispose()
    registry = Registry.open(database_url, tmp_path / "labels", tmp_path / "secret.key")
    assert [made.state for made in registry.rounds()] == [
        RoundState.PUBLISHED,
        RoundState.CANCELLED,
        RoundState.RUNNING,
        RoundState.CANCELLED,
        RoundState.QUEUED,
    ]
    kept = registry.round(5)
    assert (kept.config, kept.progress, kept.attempts, kept.snapshot_at) == ({"epochs": 3}, {}, 0, None)
    assert registry.request_round("by hand", {}, 0) is None
    registry.end_round(3, RoundState.FAILED)
    assert registry.begin_round(5).state is RoundState.RUNNING
    registry.close()
