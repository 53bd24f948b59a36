"""The served model is exchanged under way: nobody waits for a restart, nobody is left without a model."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from infers import served_model
from infers.manifest import WEIGHTS
from infers.model_store import CURRENT, ModelStore
from infers.models import Model, load_lung_model
from infers.served_model import ServedModel
from infers.unet import UNet
from infers.weights import save_weights

SPACING_MM = (2.0, 2.0, 2.0)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    """Models `one` and `two`; the first is published."""
    store = ModelStore(tmp_path / "models")
    for channels, name in ((2, "one"), (4, "two")):
        save_weights(UNet(base_channels=channels), tmp_path / f"{name}.safetensors")
        store.add(tmp_path / f"{name}.safetensors")
    store.publish("one")
    return store


def version(store: ModelStore, name: str) -> str:
    return store.model(name).version


class Loads:
    """Counts how often a model is loaded, and lets a second load at once be seen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[Path] = []
        self._two = threading.Event()
        monkeypatch.setattr(served_model, "load_lung_model", self.load)

    def load(self, path: Path, device: str) -> Model:
        self.paths.append(path)
        if len(self.paths) > 1:
            self._two.set()
        self._two.wait(0.2)
        return load_lung_model(path, device)


def test_a_request_in_flight_finishes_on_the_model_that_it_began_with(store: ModelStore) -> None:
    served = ServedModel(store.folder, "cpu")
    hu = np.random.default_rng(0).integers(-1000, 400, (2, 40, 40)).astype(np.int16)
    began, go_on = threading.Event(), threading.Event()
    answers: dict[str, object] = {}

    def request() -> None:
        model = served()
        assert model is not None
        began.set()
        assert go_on.wait(30)
        answers.update(version=model.version, mask=model.predict(hu, SPACING_MM))

    old = served()
    assert old is not None
    expected = old.predict(hu, SPACING_MM)
    thread = threading.Thread(target=request)
    thread.start()
    assert began.wait(30)
    store.publish("two")
    new = served()
    assert new is not None and new.version == version(store, "two")
    go_on.set()
    thread.join()
    assert answers["version"] == version(store, "one")
    np.testing.assert_array_equal(answers["mask"], expected)  # type: ignore[arg-type]


def test_requests_at_once_load_a_model_once(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    loads, served = Loads(monkeypatch), ServedModel(store.folder, "cpu")
    for name in ("one", "two"):
        store.publish(name)
        loads.paths.clear()
        start, given = threading.Barrier(4), []

        def request(start: threading.Barrier = start, given: list[Model | None] = given) -> None:
            start.wait()
            given.append(served())

        threads = [threading.Thread(target=request) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert loads.paths == [store.folder / name / WEIGHTS]
        assert len({id(model) for model in given}) == 1


def break_weights(store: ModelStore) -> None:
    weights = store.folder / "two" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-8])


def remove(store: ModelStore) -> None:
    shutil.rmtree(store.folder / "two")


def break_manifest(store: ModelStore) -> None:
    (store.folder / "two" / "manifest.json").write_text("{")


@pytest.mark.parametrize("damage", [break_weights, remove, break_manifest])
def test_a_broken_new_model_leaves_the_old_one_serving_and_says_so(
    damage: object, store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    served = ServedModel(store.folder, "cpu")
    old = served()
    assert served.problem is None
    store.publish("two")
    damage(store)  # type: ignore[operator]
    with caplog.at_level(logging.ERROR):
        assert [served(), served()] == [old, old]
    assert served.problem is not None and served.problem.endswith("; one is served on")
    assert [record.message for record in caplog.records] == [served.problem]  # once, not for each request
    assert served.weights() is not None


def test_a_broken_model_is_not_read_again_for_each_request(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    served = ServedModel(store.folder, "cpu")
    served()
    store.publish("two")
    break_weights(store)
    loads = Loads(monkeypatch)
    for _ in range(3):
        served()
    assert len(loads.paths) == 1
    monkeypatch.setattr(served_model.time, "monotonic", lambda: 1e9)
    served()
    assert len(loads.paths) == 2


def test_a_model_that_was_mended_is_served(store: ModelStore) -> None:
    served = ServedModel(store.folder, "cpu")
    served()
    store.publish("two")
    whole = (store.folder / "two" / WEIGHTS).read_bytes()
    break_weights(store)
    served()
    (store.folder / "two" / WEIGHTS).write_bytes(whole)
    model = served()
    assert model is not None and model.version == version(store, "two")
    assert served.problem is None


def test_after_a_broken_model_another_one_is_served_at_once(store: ModelStore) -> None:
    served = ServedModel(store.folder, "cpu")
    old = served()
    store.publish("two")
    break_weights(store)
    served()
    store.publish("one")
    assert served() is old
    assert served.problem is None


def test_a_device_whose_memory_is_full_leaves_the_old_one_serving(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = ServedModel(store.folder, "cpu")
    old = served()
    store.publish("two")

    def full(path: Path, device: str) -> Model:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(served_model, "load_lung_model", full)
    assert served() is old
    assert served.problem == "two is published, but cannot be loaded: CUDA out of memory; one is served on"


def test_a_broken_first_model_is_no_model(store: ModelStore) -> None:
    store.publish("two")
    break_weights(store)
    served = ServedModel(store.folder, "cpu")
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot be read as safetensors"):
            served()


def test_once_nothing_is_published_any_more_nothing_is_served(store: ModelStore) -> None:
    served = ServedModel(store.folder, "cpu")
    served()
    (store.folder / CURRENT).unlink()
    assert (served(), served.weights()) == (None, None)


def test_a_current_without_sense_leaves_the_old_one_serving(store: ModelStore) -> None:
    served = ServedModel(store.folder, "cpu")
    old = served()
    (store.folder / CURRENT).write_text("nowhere")
    assert served() is old
    assert served.weights() == store.folder / "one" / WEIGHTS
    assert served.problem == f"{store.folder / CURRENT} names no model; one is served on"
