"""What is served: chosen by hand, by a round, taken back; and what a crash between any two steps leaves."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_scores import add_round
from networks import lungmask_file

from datastore.atomic import sha256_of
from datastore.registry import Registry
from infers.manifest import MANIFEST, WEIGHTS
from infers.model_store import CURRENT, ModelStore
from infers.published import CITATION
from infers.publishing import PublishingError, keep_candidate, publish, publish_round, publish_shipped, rollback
from infers.unet import UNet
from infers.weights import load_weights, save_weights

CARD = f"# round-0001\n\n{CITATION}\n"
METRICS = {"round": 1, "judging": {"publish": True, "reason": "Published: better."}}


class Died(BaseException):
    """Stands for a process that is gone: nothing catches it."""


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    store = ModelStore(tmp_path / "models")
    for seed, name in enumerate(("first", "second"), start=1):
        store.add(lungmask_file(tmp_path / f"{name}.pth", seed=seed))
    return store


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    """The weights of a round."""
    folder = tmp_path / "rounds" / "0001"
    folder.mkdir(parents=True)
    save_weights(UNet(base_channels=2), folder / WEIGHTS)
    return folder / WEIGHTS


@pytest.fixture
def round_number(registry: Registry) -> int:
    return add_round(registry)


def published(
    registry: Registry, store: ModelStore, candidate: Path, champion: str | None = "first", **how: Any
) -> str:
    how = {"weights": candidate, "name": "round-0001", "round_number": 1, "card": CARD, "metrics": METRICS, **how}
    return publish_round(registry, store, champion=champion, **how).name


def history(registry: Registry) -> list[tuple[str, dict[str, object]]]:
    return [(event.action, event.detail) for event in registry.events() if event.action.startswith("model.")]


# by hand


def test_a_model_published_by_hand_stands_in_the_history(registry: Registry, store: ModelStore) -> None:
    model, before = publish(registry, store, "FIRST", "mia")
    assert (model.name, before, store.served()) == ("first", None, "first")
    assert publish(registry, store, "second", "mia")[1] == "first"
    assert registry.served_models() == ("first", "second")
    rows = {row.version: row for row in registry.models()}
    assert {name: row.weights_sha256 for name, row in rows.items()} == {
        name: sha256_of(store.folder / name / WEIGHTS) for name in ("first", "second")
    }
    assert all(row.published_at is not None and row.round_number is None for row in rows.values())


def test_what_was_served_before_there_was_a_history_is_found(registry: Registry, store: ModelStore) -> None:
    store.publish("first")
    publish(registry, store, "second")
    assert registry.served_models() == ("first", "second")
    assert ("model.published", {"model": "first", "found": True}) in history(registry)
    assert rollback(registry, store)[1] and store.served() == "first"


def test_a_model_that_cannot_be_served_changes_nothing(registry: Registry, store: ModelStore) -> None:
    publish(registry, store, "first")
    before = history(registry)
    weights = store.folder / "second" / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-8])
    for name in ("second", "third"):
        with pytest.raises(ValueError, match=name):
            publish(registry, store, name)
    assert (store.served(), history(registry)) == ("first", before)


def test_another_model_in_the_place_of_a_known_one_is_refused(
    registry: Registry, store: ModelStore, tmp_path: Path
) -> None:
    publish(registry, store, "first")
    publish(registry, store, "second")
    for path in (store.folder / "first").iterdir():
        path.unlink()
    (store.folder / "first").rmdir()
    store.add(lungmask_file(tmp_path / "other.pth", seed=9), "first")
    with pytest.raises(ValueError, match="model first is there already, with weights of SHA-256"):
        publish(registry, store, "first")
    assert (store.served(), registry.served_models()) == ("second", ("first", "second"))


# a round


def test_the_model_of_a_round_is_served_with_card_metrics_and_lineage(
    registry: Registry, store: ModelStore, candidate: Path, round_number: int
) -> None:
    publish(registry, store, "first")
    assert published(registry, store, candidate, parent="first", by="mia") == "round-0001"
    assert store.served() == "round-0001"
    folder = store.folder / "round-0001"
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "manifest.json", "metrics.json", WEIGHTS]
    assert (folder / WEIGHTS).read_bytes() == candidate.read_bytes()  # the very file that was judged
    assert load_weights(folder / WEIGHTS).version == load_weights(candidate).version
    assert (folder / "README.md").read_text() == CARD
    assert json.loads((folder / "metrics.json").read_text()) == METRICS
    assert json.loads((folder / MANIFEST).read_text())["round"] == 1
    assert store.model("round-0001").manifest.round_number == 1
    row = next(row for row in registry.models() if row.version == "round-0001")
    assert (row.parent, row.round_number, row.metrics) == ("first", round_number, METRICS)
    assert row.weights_sha256 == sha256_of(candidate) and row.published_at is not None
    assert history(registry)[-1] == ("model.published", {"model": "round-0001", "before": "first", "round": 1})


def test_the_first_model_of_a_project_comes_from_a_round(
    registry: Registry, tmp_path: Path, candidate: Path, round_number: int
) -> None:
    store = ModelStore(tmp_path / "none-yet")
    assert published(registry, store, candidate, None) == "round-0001"
    assert (store.served(), registry.served_models()) == ("round-0001", ("round-0001",))


def test_a_candidate_that_is_held_back_is_kept_and_can_be_published_by_hand(
    registry: Registry, store: ModelStore, candidate: Path, round_number: int
) -> None:
    publish(registry, store, "first")
    model = keep_candidate(registry, store, candidate, "round-0001", 1, CARD, METRICS, parent="fast")
    assert (model.name, store.served()) == ("round-0001", "first")
    row = next(row for row in registry.models() if row.version == "round-0001")
    assert (row.parent, row.published_at) == (None, None)
    publish(registry, store, "round-0001", "mia")
    assert rollback(registry, store)[1] and store.served() == "first"


def test_a_round_judged_against_another_model_than_the_served_one_is_not_published(
    registry: Registry, store: ModelStore, candidate: Path, round_number: int
) -> None:
    publish(registry, store, "first")
    publish(registry, store, "second", "mia")
    with pytest.raises(PublishingError, match="round-0001 was judged against first, but second is served by now"):
        published(registry, store, candidate, "first")
    assert store.served() == "second"
    assert "round-0001" in store.names()


def test_publishing_a_round_again_changes_nothing(
    registry: Registry, store: ModelStore, candidate: Path, round_number: int
) -> None:
    publish(registry, store, "first")
    published(registry, store, candidate)
    before = history(registry), registry.models()
    for _ in range(2):
        published(registry, store, candidate)
    assert (history(registry), registry.models()) == before


@pytest.mark.parametrize("what", ["taken back", "another one published"])
def test_a_repeated_step_of_a_round_overrules_nobody(
    what: str, registry: Registry, store: ModelStore, candidate: Path, round_number: int
) -> None:
    publish(registry, store, "first")
    published(registry, store, candidate)
    chosen = rollback(registry, store)[0] if what == "taken back" else publish(registry, store, "second")[0]
    published(registry, store, candidate)
    assert store.served() == chosen.name


@pytest.mark.parametrize("metrics", [{"dice": float("nan")}, {"hd95": float("inf")}])
def test_metrics_that_are_no_json_publish_nothing(
    metrics: dict[str, float], registry: Registry, store: ModelStore, candidate: Path, round_number: int
) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        published(registry, store, candidate, None, metrics=metrics)
    assert store.names() == ["first", "second"]
    assert registry.models() == []


def test_weights_that_cannot_be_read_publish_nothing(
    registry: Registry, store: ModelStore, candidate: Path, round_number: int
) -> None:
    candidate.write_bytes(candidate.read_bytes()[:-100])
    with pytest.raises(ValueError, match="weights.safetensors"):
        published(registry, store, candidate, None)
    with pytest.raises(ValueError, match=r"expected \.safetensors"):
        published(registry, store, candidate.with_suffix(".pth"), None)
    assert (store.names(), store.served()) == (["first", "second"], None)


def test_another_model_of_that_name_is_left_as_it_is(
    registry: Registry, store: ModelStore, candidate: Path, round_number: int, tmp_path: Path
) -> None:
    store.add(lungmask_file(tmp_path / "x.pth", seed=9), "x")
    (store.folder / "x").rename(store.folder / "round-0001")  # by hand: no import takes that name
    with pytest.raises(FileExistsError, match="round-0001: is another model and is left as it is"):
        published(registry, store, candidate, None)


# crashes

STEPS = [
    (ModelStore, "add_trained"),
    (Registry, "add_model"),
    (Registry, "publish_model"),
    (ModelStore, "switch"),
    (Registry, "roll_back_model"),
]


@pytest.fixture
def dies_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], list[str]]]:
    """Lets the process die at a step, counted from 1; even numbers after what the step does, odd ones before it."""

    def plan(at: int) -> list[str]:
        done: list[str] = []

        def wrap(owner: type, name: str) -> None:
            original = getattr(owner, name)

            def step(self: object, *arguments: object, **how: object) -> object:
                for moment in ("before", "after"):
                    done.append(f"{moment} {name}")
                    if moment == "after":
                        result = original(self, *arguments, **how)
                    if len(done) == at:
                        raise Died
                return result

            monkeypatch.setattr(owner, name, step)

        for owner, name in STEPS:
            wrap(owner, name)
        return done

    yield plan
    monkeypatch.undo()


def crashes(dies_at: Callable[[int], list[str]], undo: Callable[[], None], at: int, work: Callable[[], object]) -> bool:
    """Whether the process died in the work; then all is as it is without a fault injected."""
    dies_at(at)
    try:
        work()
    except Died:
        return True
    finally:
        undo()
    return False


@pytest.mark.parametrize("known", [True, False], ids=["by publish", "before there was a history"])
def test_a_round_whose_publishing_died_between_any_two_steps_is_published_by_calling_again(
    known: bool,
    registry: Registry,
    store: ModelStore,
    candidate: Path,
    round_number: int,
    dies_at: Callable[[int], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each death leaves a served model; the second call ends with the same registry as an undisturbed one."""
    died = 0
    for at in range(1, 40):
        model = f"round-{at:04d}"
        champion = store.served() if known else ("first", "second")[at % 2]
        if not known:
            store.switch(store.model(str(champion)))

        def work(model: str = model, champion: str | None = champion) -> None:
            published(registry, store, candidate, champion, name=model, parent=champion)

        crashed = crashes(dies_at, monkeypatch.undo, at, work)
        died += crashed
        assert store.served() in (champion, model)
        assert list(store.check()) == []
        work()
        assert store.served() == model
        turn = registry.served_models()
        assert turn[-1] == model
        assert turn[-2:-1] == (() if champion is None else (champion,))
        row = next(row for row in registry.models() if row.version == model)
        assert row.published_at is not None and (row.parent, row.round_number) == (champion, 1)
        events = [event for event in registry.events() if event.detail.get("model") == model]
        assert [event.action for event in events] == ["model.added", "model.published"]
        assert (events[1].detail.get("before"), events[1].detail.get("round")) == (champion, 1)
        if not crashed:
            break
    assert died >= 8
    assert not crashed


def test_a_way_back_that_died_between_any_two_steps_is_gone_by_calling_again(
    registry: Registry, store: ModelStore, dies_at: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    died = 0
    for at in range(1, 40):
        publish(registry, store, "first")
        publish(registry, store, "second")
        crashed = crashes(dies_at, monkeypatch.undo, at, lambda: rollback(registry, store))
        died += crashed
        assert store.served() in ("first", "second")
        if crashed and store.served() == "second":
            rollback(registry, store)
        assert (store.served(), registry.served_models()[-1]) == ("first", "first")
        if not crashed:
            break
    assert died >= 4
    assert not crashed


def test_a_publishing_by_hand_that_died_is_known_to_the_next_one(
    registry: Registry, store: ModelStore, dies_at: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(registry, store, "first")
    for at in range(1, 40):
        crashed = crashes(dies_at, monkeypatch.undo, at, lambda: publish(registry, store, "second"))
        if not crashed:
            break
        is_switched = store.served() == "second"
        if is_switched:
            assert rollback(registry, store)[1] and store.served() == "first"
        assert registry.served_models()[-1] == "first"
    assert (store.served(), registry.served_models()[-2:]) == ("second", ("first", "second"))


def test_a_process_killed_while_it_publishes_leaves_a_model_served(tmp_path: Path, candidate: Path) -> None:
    """kill -9 in a child at each fsync in turn: what is half there is not seen, and the next call ends it."""
    store = ModelStore(tmp_path / "models")
    url, labels = f"sqlite:///{tmp_path / 'registry.sqlite'}", tmp_path / "labels"
    opened = Registry.open(url, labels)
    add_round(opened)
    opened.close()
    killed = 0
    for at in range(1, 40):
        name = f"round-{at:04d}"
        before = store.served()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _die_at_fsync(at)
                mine = Registry.open(url, labels)
                published(mine, store, candidate, before, name=name)
                code = 0
            finally:
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL)
        killed += status != 0
        assert store.served() in (before, name)
        assert list(store.check()) == []
        registry = Registry.open(url, labels)
        published(registry, store, candidate, before, name=name)
        assert (store.served(), registry.served_models()[-1]) == (name, name)
        registry.close()
        if status == 0:
            break
    assert killed >= 8  # weights, card, metrics and manifest, each with its folder
    assert status == 0


def _die_at_fsync(at: int) -> None:
    fsync, calls = os.fsync, []

    def count(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    os.fsync = count


# back


def test_the_way_back_leads_to_the_model_that_was_served_before(
    registry: Registry, store: ModelStore, candidate: Path, round_number: int
) -> None:
    publish(registry, store, "first")
    publish(registry, store, "second")
    published(registry, store, candidate, "second")
    for now, taken in (("second", "round-0001"), ("first", "second")):
        model, before = rollback(registry, store, "mia")
        assert (model.name, before, store.served()) == (now, taken, now)
    assert rollback(registry, store, "mia") == (None, "first") and store.served() is None
    with pytest.raises(PublishingError, match="no model was ever published here: there is none to go back to"):
        rollback(registry, store)
    backs = [event for event in registry.events() if event.action == "model.rolled_back"]
    assert [(event.actor, event.detail) for event in backs] == [
        ("mia", {"model": "second", "before": "round-0001"}),
        ("mia", {"model": "first", "before": "second"}),
        ("mia", {"model": "bootstrap", "before": "first"}),
    ]


def test_what_comes_with_the_program_is_published_like_any_other(
    registry: Registry, store: ModelStore, candidate: Path, round_number: int
) -> None:
    assert publish_shipped(registry, store) is None  # it is served already
    assert registry.served_models() == ()
    publish(registry, store, "first")
    assert publish_shipped(registry, store, "mia") == "first" and store.served() is None
    assert registry.served_models() == ("first", "bootstrap")
    publish(registry, store, "second")
    assert rollback(registry, store) == (None, "second") and store.served() is None
    model, before = rollback(registry, store)
    assert model is not None and (model.name, before, store.served()) == ("first", "bootstrap", "first")
    assert rollback(registry, store) == (None, "first")
    assert "bootstrap" not in {known.version for known in registry.models()}


def test_there_is_no_way_back_where_nothing_was_served(registry: Registry, store: ModelStore) -> None:
    with pytest.raises(PublishingError, match="no model was ever published here: there is none to go back to"):
        rollback(registry, store)
    assert store.served() is None


def test_a_current_that_was_written_by_hand_is_taken_back(registry: Registry, store: ModelStore) -> None:
    publish(registry, store, "first")
    (store.folder / CURRENT).write_text("second\n")
    assert rollback(registry, store)[1] and store.served() == "first"
    assert registry.served_models() == ("first",)


@pytest.mark.parametrize("damage", ["weights", "manifest", "folder"])
def test_a_damaged_model_gives_way_to_the_one_before(damage: str, registry: Registry, store: ModelStore) -> None:
    publish(registry, store, "first")
    publish(registry, store, "second")
    if damage == "folder":
        (store.folder / "second").rename(store.folder.parent / "gone")
    else:
        (store.folder / "second" / {"weights": WEIGHTS, "manifest": MANIFEST}[damage]).write_bytes(b"{")
    assert rollback(registry, store)[1] and store.served() == "first"
    assert store.served() == "first"


def test_a_damaged_model_that_was_never_entered_gives_way_too(registry: Registry, store: ModelStore) -> None:
    store.publish("second")
    (store.folder / "second" / MANIFEST).write_bytes(b"{")
    assert publish(registry, store, "first")[1] == "second"
    assert store.served() == "first"


def test_a_way_back_to_a_model_that_is_gone_or_damaged_is_refused(registry: Registry, store: ModelStore) -> None:
    publish(registry, store, "first")
    publish(registry, store, "second")
    weights = store.folder / "first" / WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(content[:-8])
    with pytest.raises(ValueError, match=r"first.*"):
        rollback(registry, store)
    weights.write_bytes(content)
    (store.folder / "first").rename(store.folder.parent / "gone")
    with pytest.raises(PublishingError, match="first was served before second, but is not in .* any more"):
        rollback(registry, store)
    assert (store.served(), registry.served_models()) == ("second", ("first", "second"))


def test_those_who_choose_at_once_choose_one_after_the_other(registry: Registry, store: ModelStore) -> None:
    start = threading.Barrier(4)
    errors: list[BaseException] = []

    def choose(name: str) -> None:
        start.wait()
        try:
            for _ in range(3):
                publish(registry, store, name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=choose, args=(name,)) for name in ("first", "second") * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert registry.served_models()[-1] == store.served()
    turn = [event.detail for event in registry.events() if event.action == "model.published"]
    assert not any(detail.get("found") for detail in turn)  # nobody saw a switch before it was entered
