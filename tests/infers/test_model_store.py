"""A folder of models: what is imported is there whole, once, and for ever."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch
from networks import lungmask_file

from datastore.atomic import sha256_of
from datastore.labels import LOBES, LUNGS, Structure
from infers import load_model, model_store, published
from infers.joined_model import JoinedModel
from infers.manifest import MANIFEST, WEIGHTS
from infers.model_store import CURRENT, ModelStore, find_weights, user_store
from infers.network_model import NetworkModel
from infers.options import Options, Postprocessing
from infers.preprocess import Preprocessing
from infers.served_model import ServedModel
from infers.unet import UNet
from infers.weights import load_weights, save_weights
from infers.weights_metadata import Border, Origin


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    return lungmask_file(tmp_path / "site-b.pth")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_imported_model_is_found_by_name_with_the_very_tensors(store: ModelStore, weights_file: Path) -> None:
    model, is_new = store.add(weights_file)
    assert is_new
    assert (model.name, model.folder, store.names()) == ("site-b", store.folder / "site-b", ["site-b"])
    assert sorted(path.name for path in model.folder.iterdir()) == ["README.md", "manifest.json", "weights.safetensors"]
    imported, original = load_weights(find_weights("SITE-B", [store.folder])), load_weights(weights_file)
    assert (imported.name, imported.structures) == ("site-b", LUNGS)
    assert imported.origin == Origin("site-b.pth", original.sha256)
    assert imported.version == model.version == load_model("Site-B", "cpu", stores=[store.folder]).version
    for name, tensor in original.network.state_dict().items():
        assert torch.equal(imported.network.state_dict()[name], tensor)


def test_whoever_may_read_the_store_may_read_the_weights(store: ModelStore, weights_file: Path) -> None:
    before = os.umask(0o027)
    try:
        model, _ = store.add(weights_file)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in model.folder.iterdir()} == {0o640}


def test_the_manifest_says_what_the_model_is(store: ModelStore, tmp_path: Path) -> None:
    path = lungmask_file(tmp_path / "unet_ltrclobes-3a07043d.pth", classes=6)
    model, _ = store.add(path)
    plain = json.loads((model.folder / MANIFEST).read_text())
    assert plain["name"] == "LTRCLobes"
    assert (plain["architecture"], plain["classes"]) == ("unet", 6)
    assert [(item["value"], item["name"]) for item in plain["structures"]] == [(s.value, s.name) for s in LOBES]
    assert plain["preprocessing"] == {"hu_low": -1024, "hu_high": 600, "size": 256}
    assert plain["sha256"] == sha256_of(model.folder / WEIGHTS)
    assert plain["origin"] == {"file_name": path.name, "sha256": sha256_of(path)}
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(plain["imported_at"]) < timedelta(minutes=2)
    assert plain["lungapp_version"]


def test_the_card_says_where_a_model_comes_from_and_whom_to_cite(
    store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lungmask_file(tmp_path / "unet_r231-d5d2fc3d.pth")
    model, _ = store.add(path)
    card = (model.folder / "README.md").read_text()
    assert card.startswith("# R231\n")
    assert "NOT the published R231" in card
    for words in (
        "| 1 | right_lung |",
        sha256_of(path),
        model.manifest.sha256,
        "Eur Radiol Exp 4, 50 (2020)",
        "Licence",
    ):
        assert words in card
    real = published.PublishedModel("R231", f"unet_r231-{sha256_of(path)[:8]}.pth", LUNGS, "Trained on 231 scans.")
    monkeypatch.setattr(published, "PUBLISHED", (real,))
    card = (store.add(path, "again")[0].folder / "README.md").read_text()
    assert "The published R231: the SHA-256 begins with" in card
    assert "NOT" not in card
    assert "Trained on 231 scans." in card


def test_the_same_weights_again_are_there_already(store: ModelStore, weights_file: Path, tmp_path: Path) -> None:
    first, _ = store.add(weights_file)
    before = content(store.folder)
    elsewhere = ModelStore(tmp_path / "elsewhere")
    for path, name in (
        (weights_file, ""),
        (weights_file, "SITE-B"),
        (first.folder / WEIGHTS, ""),
        (elsewhere.add(weights_file)[0].folder / WEIGHTS, "site-b"),
    ):
        model, is_new = store.add(path, name)
        assert (model, is_new) == (first, False)
    assert content(store.folder) == before


def other_seed(path: Path) -> None:
    lungmask_file(path, seed=8)


def other_labels(path: Path) -> None:
    one, two = (Structure(value, f"s{value}", (0.0, 0.0, 0.0)) for value in (1, 2))
    save_weights(load_weights(path.with_name("site-b.pth")).network, path, structures=(one, two))


def other_window(path: Path) -> None:
    save_weights(load_weights(path.with_name("site-b.pth")).network, path, Preprocessing(hu_high=500))


def other_border(path: Path) -> None:
    save_weights(load_weights(path.with_name("site-b.pth")).network, path, border=Border.AIR)


@pytest.mark.parametrize("make", [other_seed, other_labels, other_window, other_border])
@pytest.mark.parametrize("name", ["site-b", "Site-B"])
def test_another_model_under_a_name_that_is_taken_is_refused(
    store: ModelStore, weights_file: Path, make: Callable[[Path], None], name: str
) -> None:
    store.add(weights_file)
    before = content(store.folder)
    other = weights_file.with_name("other.pth" if make is other_seed else "other.safetensors")
    make(other)
    with pytest.raises(FileExistsError, match="site-b: is another model and is left as it is"):
        store.add(other, name)
    assert content(store.folder) == before
    assert store.add(other, "another")[1]


def test_a_model_of_one_store_imported_into_another_keeps_version_and_origin(
    store: ModelStore, weights_file: Path, tmp_path: Path
) -> None:
    first, _ = store.add(weights_file)
    second, _ = ModelStore(tmp_path / "project").add(first.folder / WEIGHTS)
    assert (second.name, second.version) == (first.name, first.version)
    assert second.manifest.metadata.origin == Origin("site-b.pth", sha256_of(weights_file))


def test_a_model_whose_weights_ask_for_the_border_of_air_is_used_so(store: ModelStore, weights_file: Path) -> None:
    network = load_weights(weights_file).network
    path = weights_file.with_name("with-air.safetensors")
    save_weights(network, path, border=Border.AIR)
    trained, _ = store.add_trained(path, "round-0001", 1, "# card", {})
    imported, _ = store.add(path, "imported")
    by_hand = store.folder / "by-hand"
    by_hand.mkdir()
    shutil.copy(path, by_hand / WEIGHTS)
    for model in (trained, imported, store.model("by-hand")):
        assert model.manifest.metadata.border is Border.AIR
        used = load_model(model.name, "cpu", stores=[store.folder])
        assert isinstance(used, JoinedModel) and used.version == model.version
        assert isinstance(
            load_model(model.name, "cpu", Options(Postprocessing.NONE), stores=[store.folder]), NetworkModel
        )
    plain, _ = store.add(weights_file)
    assert isinstance(load_model(plain.name, "cpu", stores=[store.folder]), NetworkModel)
    assert "joined" in trained.version and "joined" not in plain.version


@pytest.mark.parametrize("name", ["round-0001", "Round-12345"])
def test_names_of_rounds_are_for_rounds(store: ModelStore, weights_file: Path, name: str) -> None:
    with pytest.raises(ValueError, match="a project's own rounds call their models so: give another --name"):
        store.add(weights_file, name)
    assert store.names() == []
    assert store.add(weights_file, "round-7")[1]


@pytest.mark.parametrize("name", ["../escaped", "a/b", ".hidden", "threshold", "x.pth"])
def test_a_name_with_tricks_makes_nothing(store: ModelStore, weights_file: Path, name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="model name"):
        store.add(weights_file, name)
    assert list(tmp_path.iterdir()) == [weights_file]


def test_a_file_whose_own_name_is_none_for_a_model_needs_another(store: ModelStore, weights_file: Path) -> None:
    path = weights_file.rename(weights_file.with_name("my model (1).pth"))
    with pytest.raises(ValueError, match=r"model name 'my model \(1\)'"):
        store.add(path)
    assert store.add(path, "mine")[1]


def test_a_file_name_that_is_no_text_is_imported_under_another(store: ModelStore, weights_file: Path) -> None:
    path = weights_file.rename(Path(os.fsdecode(os.fsencode(weights_file.parent) + b"/\xff\x1b|x.pth")))
    model, _ = store.add(path, "mine")
    assert model.manifest.metadata.origin == Origin("  |x.pth", sha256_of(path))
    assert "Imported from: `  |x.pth`" in (model.folder / "README.md").read_text()


@pytest.mark.parametrize("kind", ["text", "nothing", "a folder", "truncated"])
def test_a_wrong_file_makes_nothing(store: ModelStore, weights_file: Path, kind: str) -> None:
    path = weights_file
    if kind == "text":
        path.write_text("hello")
    elif kind == "nothing":
        path = path.with_name("nowhere.pth")
    elif kind == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises((ValueError, FileNotFoundError), match=path.name):
        store.add(path)
    assert not store.folder.exists()


def in_a_child(work: Callable[[], object]) -> int:
    """Run in a forked process; its exit code, negative if a signal ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(step: int, work: Callable[[], object]) -> int:
    """Run, and kill -9 when it makes something durable for the `step`-th time."""
    fsync, calls = os.fsync, []

    def count(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    def run() -> None:
        os.fsync = count
        work()

    return in_a_child(run)


def test_an_import_killed_at_any_step_leaves_a_whole_model_or_none(
    store: ModelStore, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_store, "ABANDONED_SECONDS", -1)
    outcomes = []
    for step in range(1, 20):
        if killed_at(step, lambda: store.add(weights_file)) == 0:
            break
        left = [path for path in store.folder.iterdir() if not path.name.startswith(".writing-")]
        outcomes.append(store.names())
        assert [path.name for path in left] == store.names()
        assert list(store.check()) == []
        model, is_new = store.add(weights_file)
        assert is_new != bool(outcomes[-1])
        model.weights()
        assert [path.name for path in store.folder.iterdir()] == ["site-b"]  # the half one is cleared away
        shutil.rmtree(store.folder)
    assert outcomes.count([]) >= 6  # three files, each with its folder
    assert outcomes[-1] == ["site-b"]


def test_what_a_younger_import_is_writing_is_left_alone(store: ModelStore, weights_file: Path) -> None:
    young, old = store.folder / ".writing-0a-x", store.folder / ".writing-0b-y"
    for folder in (young, old):
        folder.mkdir(parents=True)
        (folder / WEIGHTS).write_bytes(b"half of")
    os.utime(old, (0, 0))
    store.add(weights_file)
    assert young.exists() and not old.exists()
    assert store.names() == ["site-b"]
    assert store.find(young.name) is None


def test_a_full_disk_is_said_to_be_full(store: ModelStore, weights_file: Path) -> None:
    def import_onto_a_full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        with pytest.raises(OSError, match="File too large"):
            store.add(weights_file)

    assert in_a_child(import_onto_a_full_disk) == 0
    assert list(store.folder.iterdir()) == []


def test_of_two_imports_at_once_one_makes_the_model(store: ModelStore, weights_file: Path) -> None:
    start, results = threading.Barrier(4), []

    def add() -> None:
        start.wait()
        results.append(store.add(weights_file))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(is_new for _, is_new in results) == [False, False, False, True]
    assert len({model.version for model, _ in results}) == 1
    assert [path.name for path in store.folder.iterdir()] == ["site-b"]


def test_what_is_no_model_is_neither_listed_nor_replaced(store: ModelStore, weights_file: Path) -> None:
    (store.folder / "site-b").mkdir(parents=True)
    (store.folder / "site-b" / "notes.txt").write_text("mine")
    assert store.names() == []
    with pytest.raises(FileExistsError, match="site-b: is there already, and is no model"):
        store.add(weights_file)
    assert content(store.folder) == {"site-b/notes.txt": b"mine"}


def flip(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[-100] ^= 0x01
    path.write_bytes(damaged)


def test_weights_that_were_changed_are_not_loaded_any_more(store: ModelStore, weights_file: Path) -> None:
    model, _ = store.add(weights_file)
    assert list(store.check()) == []
    flip(model.folder / WEIGHTS)
    for load in (
        lambda: load_model("site-b", "cpu", stores=[store.folder]),
        lambda: load_model(model.folder / WEIGHTS, "cpu"),
        lambda: store.publish("site-b"),
        lambda: store.add(weights_file),
    ):
        with pytest.raises(ValueError, match="was changed after it was stored"):
            load()
    assert len(list(store.check())) == 1


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b"{}", b'{"sha256": 3}', b'{"sha256": "zz"}', b"\xff\xfe", b"[" * 100_000]
)
def test_a_damaged_manifest_is_said_to_be_damaged(store: ModelStore, weights_file: Path, damage: bytes) -> None:
    model, _ = store.add(weights_file)
    (model.folder / MANIFEST).write_bytes(damage)
    with pytest.raises(ValueError, match=r"manifest\.json: damaged"):
        store.model("site-b")
    (fault,) = store.check()
    assert "manifest.json: damaged" in fault


def test_a_model_that_was_put_there_by_hand_is_a_model(store: ModelStore) -> None:
    (store.folder / "v1").mkdir(parents=True)
    save_weights(UNet(base_channels=2), store.folder / "v1" / WEIGHTS)
    model = store.model("V1")
    assert (model.name, model.structures, model.manifest.imported_at) == ("v1", LUNGS, None)
    assert model.version == load_weights(model.folder / WEIGHTS).version
    assert load_weights(model.folder / WEIGHTS).name == "v1"
    assert list(store.check()) == []


def test_publishing_switches_what_is_served_at_once(store: ModelStore, weights_file: Path) -> None:
    serve = ServedModel(store.folder, "cpu")
    other = lungmask_file(weights_file.with_name("other.pth"), seed=8)
    for path in (weights_file, other):
        store.add(path)
    assert (store.served(), serve()) == (None, None)
    for name in ("site-b", "OTHER", "site-b"):
        model = store.publish(name)
        served = serve()
        assert served is not None and served.version == model.version
        assert store.served() == model.name == name.lower()
    assert not list(store.folder.glob(".*"))


def test_lobes_are_not_served_where_masks_are_lungs(store: ModelStore, weights_file: Path, tmp_path: Path) -> None:
    store.add(weights_file)
    store.publish("site-b")
    store.add(lungmask_file(tmp_path / "unet_ltrclobes-3a07043d.pth", classes=6))
    store.add(lungmask_file(tmp_path / "l.pth", classes=6), structures=LOBES)
    for name in ("LTRCLobes", "l"):
        with pytest.raises(
            ValueError, match="cannot be served: the project's masks are 1 right_lung, 2 left_lung, the"
        ):
            store.publish(name)
    with pytest.raises(ValueError, match="no model 'nowhere'"):
        store.publish("nowhere")
    assert store.served() == "site-b"
    assert store.publish("l", LOBES).name == "l"


@pytest.mark.parametrize("current", ["nosuch", "../store/site-b", "", ".", "\xff"])
def test_a_current_that_names_no_model_is_found(store: ModelStore, weights_file: Path, current: str) -> None:
    store.add(weights_file)
    (store.folder / CURRENT).write_text(current, encoding="latin-1")
    assert store.served() is None
    (fault,) = store.check()
    assert fault.endswith("names no model here: no network is served")


def test_a_name_is_looked_for_in_the_given_stores_and_then_in_the_users_own(
    own_models: Path, tmp_path: Path, weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, project = ModelStore(own_models), ModelStore(tmp_path / "project")
    own.add(weights_file, "both")
    own.add(weights_file, "mine")
    project.add(lungmask_file(tmp_path / "other.pth", seed=8), "both")
    assert find_weights("both") == own_models / "both" / WEIGHTS
    assert find_weights("both", [project.folder]) == project.folder / "both" / WEIGHTS
    assert find_weights("mine", [project.folder]) == own_models / "mine" / WEIGHTS
    with pytest.raises(
        ValueError,
        match="no model 'r23': expected bootstrap, fast, anatomy3, threshold, both, mine, or a file of weights",
    ):
        find_weights("r23", [project.folder])
    with pytest.raises(ValueError, match="lungapp models import unet_r231-d5d2fc3d.pth"):
        load_model("r231")
    monkeypatch.chdir(tmp_path)
    shutil.copy(weights_file, "plain")  # a file without a suffix is still a file, unless a model is called so
    assert find_weights("plain") == Path("plain")
    own.add(weights_file, "plain")
    assert find_weights("plain") == own_models / "plain" / WEIGHTS


def test_two_names_that_differ_in_case_are_told_apart_where_both_are_there(tmp_path: Path) -> None:
    for name in ("lungs", "Lungs"):
        (tmp_path / name).mkdir()
        save_weights(UNet(base_channels=2), tmp_path / name / WEIGHTS)
    store = ModelStore(tmp_path)
    assert [store.find(name) for name in ("lungs", "Lungs")] == [tmp_path / "lungs", tmp_path / "Lungs"]


def test_the_threshold_needs_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGAPP_MODELS", __file__)
    assert load_model("Threshold").version == "threshold-1"
    with pytest.raises(NotADirectoryError):
        load_model("r231")


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"LUNGAPP_MODELS": "/m", "XDG_DATA_HOME": "/x"}, Path("/m")),
        ({"LUNGAPP_MODELS": "", "XDG_DATA_HOME": "/x"}, Path("/x/lungapp/models")),
        ({"XDG_DATA_HOME": "relative"}, Path("/home/nn/.local/share/lungapp/models")),
        ({}, Path("/home/nn/.local/share/lungapp/models")),
    ],
)
def test_the_users_own_models_lie_where_the_environment_says(
    environment: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/nn")
    assert user_store(environment) == folder


def test_without_a_home_folder_the_variable_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(ValueError, match=r"set \$LUNGAPP_MODELS"):
        user_store({})
