"""The slices of a round out of the cache, and its training."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import PhantomProject
from phantom_studies import accept_truth, phantom_study

from datastore.nifti import write_nifti
from datastore.registry import Registry
from datastore.served_images import CaseImageError, ServedImages
from infers.manifest import WEIGHTS
from infers.preprocess import Preprocessing
from infers.weights import load_weights
from lungapp.project import open_project
from lungapp.rounds.candidate import Slices, preprocessing_of, train_candidate
from lungapp.rounds.snapshot import Snapshot, take_snapshot
from lungapp.rounds.watch import RoundCancelledError, Watch
from trainers.slices import training_slices
from trainers.stopping import TrainingStopped

TINY = {"start": '"scratch"', "base_channels": 2, "epochs": 2, "steps_per_epoch": 2, "with_lung": 2, "without_lung": 1}


@pytest.fixture
def made(tmp_path: Path) -> PhantomProject:
    return phantom_study(tmp_path, 3, **TINY)  # type: ignore[arg-type]


@pytest.fixture
def registry(made: PhantomProject) -> Iterator[Registry]:
    opened = made.project.registry()
    for case_id in made.phantoms:
        accept_truth(opened, made, case_id)
    yield opened
    opened.close()


def begun(made: PhantomProject, registry: Registry) -> Snapshot:
    folder = made.project.round_folder(1)
    if not registry.rounds():
        registry.request_round("by hand", made.project.settings.round_config(), seed=0)
        registry.begin_round(1)
        folder.mkdir(parents=True)
    return take_snapshot(made.project, registry, 1, folder)


def slices_of(made: PhantomProject, registry: Registry) -> Slices:
    return Slices(made.project, registry, made.project.images())


def watch_of(registry: Registry, step: str = "cache") -> Watch:
    return Watch(registry, 1, step, threading.Event())


def entries(slices: Slices) -> set[str]:
    return {path.name for path in slices.cache.folder.iterdir()}


def test_the_slices_are_those_of_inference_and_the_accepted_mask(made: PhantomProject, registry: Registry) -> None:
    snapshot = begun(made, registry)
    found = slices_of(made, registry).of(snapshot, Preprocessing(), watch_of(registry))
    assert found.watched is None
    for label_id, volume in zip(snapshot.train, found.train.volumes, strict=True):
        case = registry.case(registry.label(label_id).case_id)
        phantom = made.phantoms[case.id]
        expected = training_slices(phantom.image.to_lps().array, phantom.lungs.to_lps().array)
        indices = np.arange(len(volume.slices)) + found.train.first[found.train.volumes.index(volume)]
        images, labels = found.train.read(indices)
        np.testing.assert_array_equal(images, expected.images.astype(np.float32))
        np.testing.assert_array_equal(labels, expected.labels)
        assert (volume.patient, volume.groups) == (case.patient, case.tags)


def test_a_volume_is_prepared_once_and_a_new_mask_alone_again(
    made: PhantomProject, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, read = begun(made, registry), []
    real = ServedImages.read

    def count(images: ServedImages, case: object) -> object:
        read.append(case.id)  # type: ignore[attr-defined]
        return real(images, case)  # type: ignore[arg-type]

    monkeypatch.setattr(ServedImages, "read", count)
    for _ in range(2):
        slices_of(made, registry).of(snapshot, Preprocessing(), watch_of(registry))
        assert sorted(read) == ["0001", "0002", "0003"]
    phantom = made.phantoms["0002"]
    thinner = phantom.lungs.array.copy()
    thinner[:, :50] = 0
    again = replace(made, phantoms={"0002": replace(phantom, lungs=phantom.lungs.with_array(thinner))})
    newer = accept_truth(registry, again, "0002", client_id="slicer-eve")
    changed = replace(snapshot, train=(newer, *(one for one in snapshot.train if not one.startswith("0002"))))
    slices = slices_of(made, registry)
    found = slices.of(changed, Preprocessing(), watch_of(registry))
    assert sorted(read) == ["0001", "0002", "0002", "0003"]
    assert len(entries(slices)) == 4 and slices.cache.prune(found.volumes) == 1
    assert len(entries(slices)) == 3


def test_negatives_and_watched_masks_keep_their_places(made: PhantomProject, registry: Registry) -> None:
    snapshot = begun(made, registry)
    first, second, third = snapshot.train
    parts = replace(snapshot, train=(first,), watched=(second,), negatives=(third,))
    found = slices_of(made, registry).of(parts, Preprocessing(), watch_of(registry))
    assert [volume.negatives_only for volume in found.train.volumes] == [False, True]
    assert found.watched is not None and len(found.watched.volumes) == 1 and len(found.volumes) == 3


def test_what_is_not_as_it_was_accepted_trains_nothing(made: PhantomProject, registry: Registry) -> None:
    snapshot = begun(made, registry)
    path = registry.label(snapshot.train[0]).path
    content = path.read_bytes()
    path.write_bytes(content + b"x")
    with pytest.raises(ValueError, match="was changed since it was accepted"):
        slices_of(made, registry).of(snapshot, Preprocessing(), watch_of(registry))
    path.write_bytes(content)
    case = registry.case(registry.label(snapshot.train[0]).case_id)
    other = next(phantom for case_id, phantom in made.phantoms.items() if case_id != case.id)
    write_nifti(other.image, case.source.path.with_name("other.nii.gz"), compression=1)
    case.source.path.with_name("other.nii.gz").replace(case.source.path)
    with pytest.raises(CaseImageError, match="has changed since it was registered"):
        slices_of(made, registry).of(snapshot, Preprocessing(), watch_of(registry))


def test_masks_whose_scan_is_gone_are_left_out_by_name(
    made: PhantomProject, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    snapshot = begun(made, registry)
    lost = snapshot.train[0]
    case = registry.case(registry.label(lost).case_id)
    case.source.path.unlink()
    left_out = slices_of(made, registry).prepare(snapshot, Preprocessing(), watch_of(registry))
    assert left_out == {lost: f"the image of case {case.id} is gone"}
    assert f"mask {lost} is left out" in caplog.text and str(case.source.path.parent) not in caplog.text
    assert registry.round(1).progress["done"] == registry.round(1).progress["total"] == 3
    for label_id in snapshot.train[1:]:
        registry.label(label_id).path.unlink()
    slices = slices_of(made, registry)
    for entry in slices.cache.folder.iterdir():
        shutil.rmtree(entry)
    with pytest.raises(ValueError, match=r"3 of 3 masks cannot be used, among them .*: the image of case"):
        slices.prepare(snapshot, Preprocessing(), watch_of(registry))


def test_a_full_disk_is_no_reason_to_leave_anything_out(
    made: PhantomProject, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trainers.slice_cache.write_slices", full)
    with pytest.raises(OSError, match="No space left"):
        slices_of(made, registry).prepare(begun(made, registry), Preprocessing(), watch_of(registry))


def test_a_cancelled_round_stops_preparing(made: PhantomProject, registry: Registry) -> None:
    snapshot = begun(made, registry)
    registry.request_cancel(1, "mia")
    for work in (slices_of(made, registry).of, slices_of(made, registry).prepare):
        with pytest.raises(RoundCancelledError):
            work(snapshot, Preprocessing(), watch_of(registry))


@pytest.mark.slow
def test_two_devices_train_the_network_of_a_round(made: PhantomProject, registry: Registry) -> None:
    snapshot, folder = begun(made, registry), made.project.round_folder(1)
    settings = made.project.folder / "lungapp.toml"
    settings.write_text(settings.read_text().replace('devices = ["auto"]', 'devices = ["cpu", "cpu"]'))
    project = open_project(made.project.folder)
    assert project.settings.training.devices == ("cpu", "cpu")
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(TrainingStopped):
        watch = Watch(registry, 1, "train", stopping)
        watch.check = lambda: None  # type: ignore[method-assign]  # it is stopped in the training
        train_candidate(project, snapshot, slices_of(made, registry), folder, watch)
    assert not (folder / WEIGHTS).exists()
    train_candidate(project, snapshot, slices_of(made, registry), folder, watch_of(registry, "train"))
    weights = load_weights(folder / WEIGHTS)
    assert (weights.network.base_channels, weights.preprocessing) == (2, preprocessing_of(project, snapshot))
    told = registry.round(1).progress["training"]
    assert (told["epoch"], told["epochs"], told["step"]) == (2, 2, 4)
    before = (folder / WEIGHTS).stat().st_mtime_ns
    train_candidate(project, snapshot, slices_of(made, registry), folder, watch_of(registry, "train"))
    assert (folder / WEIGHTS).stat().st_mtime_ns == before
