"""After publishing: open cases get the served model's mask, the head of the queue first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PhantomProject
from networks import random_network
from phantom_studies import SMALL, changed, phantom_study
from registries import HALF_HOUR, label

from datastore.nifti import write_nifti
from datastore.phantom import chest_phantom
from datastore.records import Kind
from datastore.registry import Registry
from datastore.round_records import RoundState
from infers.model_store import ModelStore
from infers.served_model import ServedModel
from infers.weights import save_weights
from lungapp.ingest import ingest
from lungapp.project import Project
from lungapp.rounds import refresh
from lungapp.rounds.refresh import cases_in_turn, refresh_masks
from lungapp.rounds.watch import Watch
from strategies import random


@pytest.fixture
def made(tmp_path: Path) -> PhantomProject:
    return phantom_study(tmp_path, 5)


@pytest.fixture
def registry(made: PhantomProject) -> Iterator[Registry]:
    """Cases with an older model's mask, and a round that has just published another model."""
    opened = made.project.registry()
    for case_id, phantom in made.phantoms.items():
        opened.add_label(case_id, phantom.lungs, label(Kind.PRELIMINARY, "threshold-1", "lungapp", client_id=None))
    publish(made.project, 1)
    opened.request_round("by hand", {}, 0)
    opened.begin_round(1)
    opened.end_round(1, RoundState.PUBLISHED)
    yield opened
    opened.close()


def publish(project: Project, seed: int) -> str:
    """Serve a random network; its version."""
    path = project.folder / f"random-{seed}.safetensors"
    save_weights(random_network(2, seed=seed), path)
    store = ModelStore(project.models)
    store.add(path, f"random-{seed}")
    return store.publish(f"random-{seed}").version


def make_anew(project: Project, registry: Registry, stopping: threading.Event | None = None) -> None:
    watch = Watch(registry, 1, "refresh", stopping or threading.Event())
    refresh_masks(project, registry, project.images(), watch)


def models(registry: Registry) -> dict[str, list[str | None]]:
    """Models of the preliminary masks that are not superseded, by case."""
    kept = {case_id: registry.labels(case_id) for case_id in registry.case_ids()}
    return {case_id: [one.model for one in ones if one.kind is Kind.PRELIMINARY] for case_id, ones in kept.items()}


def test_open_cases_get_the_served_models_mask_and_held_ones_keep_theirs(
    made: PhantomProject, registry: Registry
) -> None:
    served = ServedModel(made.project.models, "cpu")()
    assert served is not None
    registry.lease_case("0002", "slicer-ann", HALF_HOUR)
    registry.add_label("0003", made.phantoms["0003"].lungs, label(findings=()))
    make_anew(made.project, registry)
    old, new = ["threshold-1"], [served.version]
    assert models(registry) == {"0001": new, "0002": old, "0003": old, "0004": new, "0005": new}
    assert registry.round(1).refreshed_at is not None
    assert registry.round(1).progress["step"] == "refresh" and registry.round(1).progress["done"] == 3
    assert list(registry.check()) == []


def test_the_next_cases_of_the_queue_come_first_and_get_a_mask_even_if_they_had_none(
    made: PhantomProject, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = made.project.folder.parent / "more"
    scans.mkdir()
    for number in (8, 9):
        write_nifti(chest_phantom(number, **SMALL).image, scans / f"{number}.nii.gz", compression=1)  # type: ignore[arg-type]
    ingest(registry, [scans], lambda: None)
    queue = sorted(registry.case_ids(), key=random.order(0).position)
    assert cases_in_turn(made.project, registry, "unet-1") == queue != sorted(queue)
    assert set(cases_in_turn(made.project, registry, "threshold-1")) == {"0006", "0007"}
    monkeypatch.setattr(refresh, "HEAD_OF_QUEUE", 0)
    assert cases_in_turn(made.project, registry, "unet-1") == [case_id for case_id in queue if case_id < "0006"]


def test_a_worker_that_stops_or_a_round_that_waits_leaves_the_rest_for_later(
    made: PhantomProject, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = threading.Event()
    make_one = refresh._make_anew
    done: list[str] = []

    def and_stop(registry: Registry, images: object, case_id: str, model: object) -> None:
        make_one(registry, images, case_id, model)  # type: ignore[arg-type]
        done.append(case_id)
        if len(done) == 2:
            stopping.set()
        if len(done) == 3:
            registry.request_round("by hand", {}, 0)

    monkeypatch.setattr(refresh, "_make_anew", and_stop)
    make_anew(made.project, registry, stopping)
    assert len(done) == 2 and registry.round_to_refresh() is not None
    make_anew(made.project, registry)
    assert len(done) == 3 and registry.round_to_refresh() is not None
    registry.request_cancel(2)
    make_anew(made.project, registry)
    assert len(set(done)) == len(done) == 5 and registry.round_to_refresh() is None


def test_a_model_that_is_published_meanwhile_takes_over(
    made: PhantomProject, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_one = refresh._make_anew
    versions: list[str] = []

    def and_publish(registry: Registry, images: object, case_id: str, model: object) -> None:
        make_one(registry, images, case_id, model)  # type: ignore[arg-type]
        versions.append(publish(made.project, 2))

    monkeypatch.setattr(refresh, "_make_anew", and_publish)
    make_anew(made.project, registry)
    assert len(versions) == 1 and registry.round_to_refresh() is not None
    monkeypatch.setattr(refresh, "_make_anew", make_one)
    make_anew(made.project, registry)
    assert set(map(tuple, models(registry).values())) == {(versions[0],)}


def test_a_case_that_cannot_be_read_does_not_keep_the_others_waiting(
    made: PhantomProject, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.case("0002").source.path.unlink()
    make_anew(made.project, registry)
    assert [case_id for case_id, versions in models(registry).items() if versions == ["threshold-1"]] == ["0002"]
    assert "the mask of case 0002 could not be made anew" in caplog.text
    assert registry.round_to_refresh() is None


def test_a_project_may_keep_its_masks(made: PhantomProject, registry: Registry) -> None:
    make_anew(changed(made.project, refresh="false"), registry)
    assert set(map(tuple, models(registry).values())) == {("threshold-1",)}
    assert registry.round_to_refresh() is None
