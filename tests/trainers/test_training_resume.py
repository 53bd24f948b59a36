"""A training that was stopped or killed ends with exactly the weights of an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import training_boxes
from conftest import REPOSITORY
from networks import random_network
from training_boxes import KILLED, RECIPE, Weights, equal, trained

from trainers.recipe import Stage, in_stages
from trainers.training import CHECKPOINT_FILE, Progress, TrainingStopped

ADAM = replace(RECIPE, optimizer="adam", mixed_precision="on", epochs=2)
STAGED = in_stages(replace(RECIPE, steps_per_epoch=4), (Stage(2, True, 0.01, 4.0, 1), Stage(3, False, 0.02, 3)))


def after(questions: int) -> Callable[[], bool]:
    """Says to stop when asked so often."""
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) > questions

    return should_stop


@pytest.mark.parametrize("recipe", [KILLED, ADAM, STAGED], ids=["ends early", "adam, half", "stages"])
def test_a_training_that_was_stopped_anywhere_goes_on_to_the_same_weights(tmp_path: Path, recipe: object) -> None:
    expected = trained(tmp_path / "undisturbed", recipe)  # type: ignore[arg-type]
    stops, steps = 0, []
    while True:
        try:
            made = trained(tmp_path / "a", recipe, should_stop=after(6 + stops % 2), report_every_s=0.0,  # type: ignore[arg-type]
                           report=lambda progress: steps.append(progress.step))  # fmt: skip
            break
        except TrainingStopped as stop:
            stops += 1  # a measurement asks four times: fewer questions would never get beyond one
            assert str(stop) == f"{tmp_path / 'a'}: stopped after step {content(tmp_path / 'a')['step']} of " + str(
                recipe.steps  # type: ignore[attr-defined]
            )
    assert equal(made, expected)
    assert stops >= 2 and steps == sorted(steps)  # nothing was done twice


def content(folder: Path) -> dict[str, object]:
    return torch.load(folder / CHECKPOINT_FILE, weights_only=True)


def test_a_training_can_be_stopped_while_it_measures(tmp_path: Path) -> None:
    expected = trained(tmp_path / "undisturbed", KILLED)
    for questions in (5, 1):  # three steps, the end of the epoch, and within its four measurements; then those again
        with pytest.raises(TrainingStopped):
            trained(tmp_path / "a", KILLED, should_stop=after(questions))
        assert (content(tmp_path / "a")["step"], content(tmp_path / "a")["epochs_ended"]) == (3, 0)
    heard: list[Progress] = []
    assert equal(trained(tmp_path / "a", KILLED, report=heard.append), expected)
    undisturbed: list[Progress] = []
    trained(tmp_path / "b", KILLED, report=undisturbed.append)
    assert [(p.loss, p.watched_dice) for p in heard] == [(p.loss, p.watched_dice) for p in undisturbed]


def test_sigterm_stops_a_training_and_is_handled_by_others_again_afterwards(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingStopped, match="stopped after step 5 of 9"):
        trained(tmp_path / "a", report=interrupt, report_every_s=0.0)
    assert signal.getsignal(signal.SIGTERM) == before
    assert content(tmp_path / "a")["step"] == 5
    assert equal(trained(tmp_path / "a"), trained(tmp_path / "b"))


def test_a_training_in_another_thread_can_be_stopped_by_its_caller(tmp_path: Path) -> None:
    ends: list[BaseException] = []

    def run() -> None:
        torch.set_num_threads(1)
        try:
            trained(tmp_path / "a", should_stop=after(4))
        except TrainingStopped as stop:
            ends.append(stop)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(ends) == 1 and content(tmp_path / "a")["step"] == 3
    assert equal(trained(tmp_path / "a"), trained(tmp_path / "b"))


def killed(folder: Path, step: int, save_every_s: float) -> None:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, training_boxes.__file__, str(folder), str(step), str(save_every_s)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, timeout=120)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_training_that_was_killed_again_and_again_ends_with_the_same_weights(tmp_path: Path) -> None:
    expected = trained(tmp_path / "undisturbed", KILLED)
    killed(tmp_path / "a", 2, 1e9)  # before anything was saved
    assert not (tmp_path / "a" / CHECKPOINT_FILE).exists()
    killed(tmp_path / "a", 5, 1e9)  # in the middle of the second epoch
    assert content(tmp_path / "a")["step"] == 3
    killed(tmp_path / "a", 7, 0.0)  # with a checkpoint of each step
    assert content(tmp_path / "a")["step"] == 7
    assert equal(trained(tmp_path / "a", KILLED), expected)


def test_a_finished_training_gives_its_weights_again_and_does_nothing(tmp_path: Path) -> None:
    made = trained(tmp_path, KILLED)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    heard: list[Progress] = []
    assert equal(trained(tmp_path, KILLED, report=heard.append), made)
    assert not heard and sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"recipe": replace(RECIPE, epochs=4)}, "expected recipe.epochs 4, got 3"),
        ({"recipe": replace(RECIPE, seed=2)}, "expected recipe.seed 2, got 1"),
        ({"made_from": {"labels": [1, 2, 4]}}, r"expected made_from.labels \[1, 2, 4\], got \[1, 2, 3\]"),
        ({"start_from": random_network(2)}, "expected start_from '[0-9a-f]{64}', got None"),
        ({"validation": None}, "expected validation None, got {"),
    ],
    ids=["epochs", "seed", "labels", "start", "validation"],
)
def test_a_checkpoint_of_another_training_is_refused(
    finished: tuple[Path, Weights], how: dict[str, object], words: str
) -> None:
    folder, _ = finished
    with pytest.raises(ValueError, match=f"{CHECKPOINT_FILE}: belongs to another training: {words}"):
        trained(folder, **{"made_from": {"labels": [1, 2, 3]}, **how})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Weights]:
    folder = tmp_path_factory.mktemp("finished")
    return folder, trained(folder, made_from={"labels": [1, 2, 3]})


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=f"{CHECKPOINT_FILE}: is no checkpoint of a training"):
        trained(tmp_path)


def test_saving_leaves_the_old_checkpoint_or_the_new_one(tmp_path: Path) -> None:
    trained(tmp_path, replace(RECIPE, epochs=1))
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT_FILE, "config.json", "events"]
