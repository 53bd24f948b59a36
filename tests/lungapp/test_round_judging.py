"""The judging and the end of a round, with small networks on small phantoms."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import PhantomProject
from phantom_studies import accept_truth, phantom_study

from datastore.registry import Registry
from datastore.round_records import RoundState
from infers.manifest import WEIGHTS
from infers.model_store import ModelStore
from infers.models import load_lung_model
from infers.publishing import PublishingError, publish
from infers.unet import UNet
from infers.weights import ANATOMY3, save_weights
from lungapp.rounds import judging as judging_module
from lungapp.rounds import outcome
from lungapp.rounds.judging import Judging
from lungapp.rounds.outcome import conclude
from lungapp.rounds.snapshot import take_snapshot
from lungapp.rounds.watch import InterruptedRound, Watch
from trainers.case_scores import JudgedFile
from trainers.judging import JudgingStoppedError

LENIENT = {"dice_margin": 1.0, "tag_dice_margin": 1.0, "hd95_margin_mm": 1000.0, "first_dice": 0.0}


def network(path: Path, lean: float) -> Path:
    """A network of random weights that leans to lung, or away from it."""
    torch.manual_seed(3)
    made = UNet(3, 2).eval()
    with torch.no_grad():
        made.last.bias += torch.tensor([0.0, lean, lean])  # type: ignore[operator]
    save_weights(made, path)
    return path


@pytest.fixture
def made(tmp_path: Path) -> PhantomProject:
    return phantom_study(tmp_path, 1, locked=2, start='"scratch"', base_channels=2, **LENIENT)


@pytest.fixture
def registry(made: PhantomProject) -> Iterator[Registry]:
    opened = made.project.registry()
    for case_id in made.phantoms:
        accept_truth(opened, made, case_id)
    opened.request_round("by hand", made.project.settings.round_config(), seed=0)
    opened.begin_round(1)
    yield opened
    opened.close()


@pytest.fixture
def store(made: PhantomProject, registry: Registry, tmp_path: Path) -> ModelStore:
    """A model that is served, and one that is not."""
    store = ModelStore(made.project.models)
    for number, name in enumerate(("served", "other")):
        store.add(network(tmp_path / f"{name}.safetensors", 0.2 + 0.1 * number), name)
    publish(registry, store, "served")
    return store


def judging_of(made: PhantomProject, registry: Registry, stopping: threading.Event = threading.Event()) -> Judging:
    folder = made.project.round_folder(1)
    folder.mkdir(parents=True, exist_ok=True)
    snapshot = take_snapshot(made.project, registry, 1, folder)
    if not (folder / WEIGHTS).exists():
        network(folder / WEIGHTS, 0.5)
    watch = Watch(registry, 1, "judge", stopping)
    return Judging(made.project, registry, made.project.images(), 1, folder, snapshot, watch)


def test_a_candidate_that_is_good_enough_is_served(made: PhantomProject, registry: Registry, store: ModelStore) -> None:
    judging = judging_of(made, registry)
    verdict = judging.decide()
    assert (verdict.champion, verdict.decision.publish) == ("served", True)
    assert len(verdict.decision.changes) == 2
    conclude(judging)
    ended = registry.round(1)
    assert (ended.state, ended.champion, ended.candidate) == (RoundState.PUBLISHED, "served", "round-0001")
    assert ended.metrics["judging"] == verdict.decision.to_plain()
    assert ended.metrics["masks"] == {"train": 1, "watched": 0, "negatives": 0, "locked": 2, "left_out": 0}
    assert store.served() == "round-0001"
    metrics = json.loads((store.folder / "round-0001" / "metrics.json").read_text())
    assert metrics["trained_on"] == list(ended.label_ids)
    assert metrics["judged_on"] == list(judging.snapshot.locked)
    assert metrics["config"]["recipe"] == judging.snapshot.recipe
    card = (store.folder / "round-0001" / "README.md").read_text()
    assert "| judged against | served |" in card and "| began with | random weights |" in card
    before = [event.action for event in registry.events()]
    conclude(replace(judging))  # once more, as after a kill
    assert [event.action for event in registry.events()] == before


def test_a_candidate_that_is_not_is_kept_and_not_served(
    made: PhantomProject, registry: Registry, store: ModelStore
) -> None:
    store.add(ANATOMY3, "healthy")
    publish(registry, store, "healthy")
    judging = judging_of(made, registry)
    strict = replace(judging, snapshot=replace(judging.snapshot, gate={**judging.snapshot.gate, "dice_margin": 0.0}))
    verdict = strict.decide()
    assert not verdict.decision.publish, verdict.decision.reason
    conclude(strict)
    ended = registry.round(1)
    assert (ended.state, ended.decision, ended.candidate) == (
        RoundState.HELD_BACK,
        verdict.decision.reason,
        "round-0001",
    )
    assert store.served() == "healthy" and "round-0001" in store.names()


def test_it_is_judged_against_what_is_served_in_the_end(
    made: PhantomProject, registry: Registry, store: ModelStore
) -> None:
    judging = judging_of(made, registry)
    assert judging.decide().champion == "served"
    publish(registry, store, "other")
    conclude(judging)
    ended = registry.round(1)
    assert (ended.state, ended.champion) == (RoundState.PUBLISHED, "other")
    kept = JudgedFile(judging.folder / "judged.json").scores()
    versions = {load_lung_model(store.folder / name / WEIGHTS).version for name in ("served", "other", "round-0001")}
    assert len(kept) == 6 and {item.model for item in kept} == versions  # the candidate's were not made twice


def test_where_the_served_model_changes_each_time_it_is_given_up(
    made: PhantomProject, registry: Registry, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def too_late(*_: object) -> None:
        tries.append(1)
        raise PublishingError("another model is served by now")

    monkeypatch.setattr(outcome, "_put_in_place", too_late)
    with pytest.raises(PublishingError, match="another model is served by now"):
        conclude(judging_of(made, registry))
    assert len(tries) == outcome.MOST_JUDGINGS
    assert registry.round(1).state is RoundState.RUNNING and store.served() == "served"


def test_a_damaged_served_model_gives_way(
    made: PhantomProject, registry: Registry, store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    (store.folder / "served" / WEIGHTS).write_bytes(b"no weights")
    judging = judging_of(made, registry)
    verdict = judging.decide()
    assert verdict.decision.publish and "no model was served yet" in verdict.decision.reason
    assert "the served model cannot be judged" in caplog.text
    conclude(judging)
    assert store.served() == "round-0001"


def test_as_long_as_none_is_published_the_shipped_network_is_the_champion(
    made: PhantomProject, registry: Registry
) -> None:
    judging = judging_of(made, registry)
    verdict = judging.decide()
    assert verdict.champion is None
    dice = next(row for row in verdict.decision.table if (row.tag, row.lung, row.metric) == ("", "", "dice"))
    assert dice.champion is not None and dice.champion > 0.9 and dice.candidate is not None and dice.candidate < 0.5


def test_a_mask_that_was_changed_since_it_was_accepted_judges_nothing(
    made: PhantomProject, registry: Registry, store: ModelStore
) -> None:
    judging = judging_of(made, registry)
    path = registry.label(judging.snapshot.locked[0]).path
    path.write_bytes(path.read_bytes() + b"x")
    failed, fine = sorted(judging.decide().decision.changes, key=lambda change: change.failure is None)
    assert "was changed since it was accepted" in (failed.failure or "") and fine.failure is None
    path.unlink()
    (judging.folder / "decision.json").unlink()
    failed, _ = sorted(judging.decide().decision.changes, key=lambda change: change.failure is None)
    assert "is gone: bring it back from a backup" in (failed.failure or "")


def test_judging_that_is_stopped_keeps_what_it_has(
    made: PhantomProject, registry: Registry, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = threading.Event()
    judging = judging_of(made, registry, stopping)
    keep = JudgedFile.keep

    def keep_and_stop(file: JudgedFile, scores: object) -> None:
        keep(file, scores)  # type: ignore[arg-type]
        stopping.set()

    with monkeypatch.context() as patched:
        patched.setattr(judging_module.JudgedFile, "keep", keep_and_stop)
        with pytest.raises((JudgingStoppedError, InterruptedRound)):
            judging.decide()
    assert len(JudgedFile(judging.folder / "judged.json").scores()) == 1
    assert not (judging.folder / "decision.json").exists()
    assert len(judging_of(made, registry).decide().decision.changes) == 2
