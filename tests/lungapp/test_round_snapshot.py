"""What a round is made of is settled once, from the settings of the time when it was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from phantom_studies import ALL_LOCKED, ALL_TRAIN, changed
from registries import new_case, submit_and_accept

from datastore.registry import Registry, RoundError
from infers.model_store import ModelStore
from infers.publishing import publish
from infers.unet import UNet
from infers.weights import ANATOMY3, save_weights
from infers.weights_metadata import Border
from lungapp.project import Project, init_project, open_project
from lungapp.rounds.folders import put_aside
from lungapp.rounds.snapshot import Snapshot, is_prepared, leave_out, read_snapshot, take_snapshot


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return changed(init_project(tmp_path / "study"), **ALL_TRAIN)


@pytest.fixture
def registry(project: Project) -> Iterator[Registry]:
    opened = project.registry()
    yield opened
    opened.close()


def accept(registry: Registry, first: int, count: int, cohort: str = "") -> list[str]:
    """Accepted masks of so many patients; their ids."""
    names = range(first, first + count)
    registry.add_cases([new_case(f"case-{name}", study_uid=f"1.{name}", cohort=cohort) for name in names])
    return [submit_and_accept(registry, f"{name:04d}") for name in names]


def taken(project: Project, registry: Registry, number: int = 1) -> Snapshot:
    """The snapshot of a round, which is asked for and begun if it is not there."""
    project = open_project(project.folder)
    if number > len(registry.rounds()):
        registry.request_round("by hand", project.settings.round_config(), seed=9)
        registry.begin_round(number)
    folder = project.round_folder(number)
    folder.mkdir(parents=True, exist_ok=True)
    return take_snapshot(project, registry, number, folder)


def test_it_begins_with_the_network_that_is_served(project: Project, registry: Registry, tmp_path: Path) -> None:
    accept(registry, 1, 2)
    first = taken(project, registry)
    assert (first.parent, registry.round(1).champion) == ("bootstrap", "bootstrap")
    assert (first.training.base_channels, first.training.seed) == (16, 9)
    registry.end_round(1, registry.round(1).state.FAILED)
    narrow = tmp_path / "narrow.safetensors"
    save_weights(UNet(3, 2), narrow)
    store = ModelStore(project.models)
    store.add(narrow, "narrow")
    publish(registry, store, "narrow")
    second = taken(project, registry, 2)
    assert (second.parent, second.training.base_channels) == ("narrow", 2)
    weights = second.parent_weights(project.models)
    assert weights is not None and weights.sha256 == second.parent_sha256
    store.folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"the training cannot begin with narrow: .*publish another model"):
        second.parent_weights(project.models)
    store.folder.mkdir()
    store.add(ANATOMY3, "narrow")
    with pytest.raises(ValueError, match="narrow: its weights are others than when the round began"):
        second.parent_weights(project.models)


def test_from_scratch_it_begins_with_nothing(project: Project, registry: Registry) -> None:
    accept(registry, 1, 1)
    changed(project, start='"scratch"', base_channels=4)
    snapshot = taken(project, registry)
    assert (snapshot.parent, snapshot.parent_sha256, snapshot.training.base_channels) == (None, None, 4)
    assert snapshot.parent_weights(project.models) is None
    assert registry.round(1).champion == "bootstrap"  # it is judged against what is served all the same


def test_what_was_set_when_it_was_asked_for_holds(project: Project, registry: Registry) -> None:
    accept(registry, 1, 1)
    changed(project, epochs=3, learning_rate=0.5, dice_margin=0.02)
    registry.request_round("by hand", open_project(project.folder).settings.round_config(), seed=4)
    registry.begin_round(1)
    changed(project, epochs=7, learning_rate=0.25, dice_margin=0.5)
    snapshot = taken(project, registry)
    assert (snapshot.training.epochs, snapshot.training.learning_rate, snapshot.training.seed) == (3, 0.5, 4)
    assert snapshot.gate["dice_margin"] == 0.02


def test_it_is_settled_once(project: Project, registry: Registry) -> None:
    masks = accept(registry, 1, 3)
    first = taken(project, registry)
    assert sorted(first.train) == sorted(masks) and first.locked == ()
    accept(registry, 4, 2)
    assert taken(project, registry) == first == read_snapshot(project.round_folder(1))
    assert registry.round(1).label_ids == tuple(sorted(masks))
    (project.round_folder(1) / "snapshot.json").unlink()  # the registry has it, too
    assert taken(project, registry) == first


def test_locked_masks_judge_and_do_not_train(project: Project, registry: Registry) -> None:
    train = accept(registry, 1, 2)
    changed(project, **ALL_LOCKED)
    other = open_project(project.folder).registry()
    locked = accept(other, 3, 2)
    other.close()
    snapshot = taken(project, registry)
    assert (sorted(snapshot.train), sorted(snapshot.locked)) == (sorted(train), sorted(locked))


def test_some_patients_are_watched_in_turn(project: Project, registry: Registry) -> None:
    masks = accept(registry, 1, 9)
    assert taken(project, registry).watched == ()  # of so few, none can be spared
    registry.end_round(1, registry.round(1).state.FAILED)
    masks += accept(registry, 10, 11)
    watched = []
    for number in range(2, 8):
        snapshot = taken(project, registry, number)
        assert len(snapshot.watched) == 2
        assert sorted((*snapshot.train, *snapshot.watched)) == sorted(masks)
        watched.append(frozenset(snapshot.watched))
        registry.end_round(number, registry.round(number).state.FAILED)
    assert len(set(watched)) > 2  # it is not always the same two who teach nothing


def test_nobody_is_watched_where_that_is_switched_off(project: Project, registry: Registry) -> None:
    masks = accept(registry, 1, 20)
    changed(project, watched_share=0)
    assert sorted(taken(project, registry).train) == sorted(masks)


def test_cohorts_of_negatives_give_slices_without_lung_alone(
    project: Project, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    healthy, sick = accept(registry, 1, 12, "anatomy3"), accept(registry, 13, 12, "routine")
    changed(project, negative_cohorts='["anatomy3", "nlst"]', watched_share=0.25)
    snapshot = taken(project, registry)
    assert sorted(snapshot.negatives) == sorted(healthy)
    assert len(snapshot.watched) == 3 and sorted((*snapshot.train, *snapshot.watched)) == sorted(sick)
    assert sorted(snapshot.used) == sorted((*healthy, *sick))
    assert "no accepted mask of the split train is of the cohort 'nlst'" in caplog.text
    assert "'anatomy3'" not in caplog.text


def test_without_an_accepted_mask_there_is_no_round(project: Project, registry: Registry) -> None:
    with pytest.raises(RoundError, match="nothing to train on"):
        taken(project, registry)


def test_negatives_alone_are_too_little(project: Project, registry: Registry) -> None:
    accept(registry, 1, 3, "anatomy3")
    changed(project, negative_cohorts='["anatomy3"]')
    with pytest.raises(ValueError, match="only slices without lung"):
        taken(project, registry)


def test_a_damaged_file_is_named(project: Project, registry: Registry) -> None:
    accept(registry, 1, 1)
    taken(project, registry)
    path = project.round_folder(1) / "snapshot.json"
    for content in ("{", "[]", '{"recipe": {}}'):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"snapshot\.json: damaged"):
            read_snapshot(path.parent)


def test_the_folder_of_a_round_before_a_restore_is_put_aside(project: Project, registry: Registry) -> None:
    accept(registry, 1, 1)
    taken(project, registry)
    folder, made = project.round_folder(1), registry.round(1)
    put_aside(folder, made)
    assert (folder / "snapshot.json").exists()
    later, others = replace(made, queued_at=datetime(2031, 5, 6, tzinfo=UTC)), replace(made, label_ids=("0001-ff",))
    for other in (later, others):
        taken(project, registry)
        before = set(project.rounds.iterdir())
        put_aside(folder, other)
        (aside,) = set(project.rounds.iterdir()) - before  # the second time under yet another name
        assert not folder.exists() and read_snapshot(aside).queued_at == made.queued_at.isoformat()
    put_aside(folder, made)  # there is none: nothing happens
    folder.mkdir()
    (folder / "snapshot.json").write_text("no JSON")
    put_aside(folder, made)
    assert folder.exists()


def test_a_model_that_has_the_name_already_is_noticed_before_anything_trains(
    project: Project, registry: Registry, tmp_path: Path
) -> None:
    accept(registry, 1, 1)
    store = ModelStore(project.models)
    store.add(ANATOMY3, "theirs")
    (store.folder / "theirs").rename(store.folder / "round-0001")
    with pytest.raises(ValueError, match=r"round-0001 is another model, and has the name that this round's would have"):
        taken(project, registry)


def test_a_device_that_is_not_there_is_noticed_before_anything_trains(project: Project, registry: Registry) -> None:
    accept(registry, 1, 1)
    project = changed(project, device='"cuda:7"')
    registry.request_round("by hand", project.settings.round_config(), seed=0)
    registry.begin_round(1)
    folder = project.round_folder(1)
    folder.mkdir(parents=True)
    with pytest.raises(ValueError, match="no device 'cuda:7' on this machine"):
        take_snapshot(project, registry, 1, folder)


def test_what_is_left_out_is_settled_once(project: Project, registry: Registry) -> None:
    masks = accept(registry, 1, 3)
    taken(project, registry)
    folder = project.round_folder(1)
    assert not is_prepared(folder)
    leave_out(folder, {masks[1]: "its scan is gone"})
    leave_out(folder, {masks[2]: "its scan is gone, too"})
    snapshot = read_snapshot(folder)
    assert is_prepared(folder) and snapshot.left_out == {masks[1]: "its scan is gone"}
    assert sorted(snapshot.train) == sorted((masks[0], masks[2])) == sorted(snapshot.used)
    put_aside(folder, registry.round(1))
    assert folder.exists()  # it is still this round's


@pytest.mark.parametrize(
    ("start", "border", "expected"),
    [
        ("served", "served", "air"),  # bootstrap's
        ("served", "network", "network"),
        ("scratch", "served", "network"),
        ("scratch", "air", "air"),
    ],
)
def test_the_border_is_that_of_the_model_before_unless_it_is_set(
    project: Project, registry: Registry, start: str, border: str, expected: str
) -> None:
    accept(registry, 1, 1)
    changed(project, start=f'"{start}"', border=f'"{border}"')
    assert taken(project, registry).border == expected


@pytest.mark.parametrize("border", list(Border))
def test_the_border_of_a_published_model_goes_on(
    project: Project, registry: Registry, tmp_path: Path, border: Border
) -> None:
    accept(registry, 1, 1)
    save_weights(UNet(3, 2), tmp_path / "weights.safetensors", border=border)
    store = ModelStore(project.models)
    store.add(tmp_path / "weights.safetensors", "narrow")
    publish(registry, store, "narrow")
    snapshot = taken(project, registry)
    assert (snapshot.parent, snapshot.border) == ("narrow", border)
    assert read_snapshot(project.round_folder(1)) == snapshot
