"""Beside its checkpoint a training leaves what is needed to repeat it, and its curves."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from networks import random_network
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_boxes import RECIPE, boxes, equal, trained

from trainers.recipe import recipe_from
from trainers.run_folder import CONFIG_FILE, EVENTS_FOLDER, commit, slices_summary, versions, weights_sha256
from trainers.slices import SliceSet, TrainingSlices, VolumeSlices
from trainers.training import Progress, TrainingStopped


def config(folder: Path) -> dict[str, dict[str, object]]:
    return json.loads((folder / CONFIG_FILE).read_text())


def test_the_config_says_all_that_is_needed_to_repeat_the_training(tmp_path: Path) -> None:
    start = random_network(2)
    made = trained(tmp_path / "a", start_from=start, made_from={"labels": ["l-1", "l-2"]})
    written = config(tmp_path / "a")["training"]
    assert written["made_from"] == {"labels": ["l-1", "l-2"]}
    assert written["start_from"] == weights_sha256(start)
    assert written["slices"] == slices_summary(boxes()) and written["validation"] == slices_summary(boxes(7))
    again = trained(tmp_path / "b", recipe_from(written["recipe"]), start_from=start)  # type: ignore[arg-type]
    assert equal(made, again)


def test_each_session_is_noted_with_where_it_began_and_what_it_ran_on(tmp_path: Path) -> None:
    questions: list[int] = []

    def should_stop() -> bool:
        questions.append(1)
        return len(questions) == 3

    with pytest.raises(TrainingStopped):
        trained(tmp_path, should_stop=should_stop)
    trained(tmp_path)
    first, second = config(tmp_path)["sessions"]
    assert (first["step"], second["step"]) == (0, 2)  # type: ignore[index]
    for session in (first, second):
        assert session["device"] == "cpu" and session["processes"] == 1  # type: ignore[index]
        assert session["threads"] == torch.get_num_threads() and session["versions"] == versions()  # type: ignore[index]


def test_the_versions_of_what_decides_the_outcome_are_known() -> None:
    found = versions()
    assert found["python"] == platform.python_version() and found["torch"] == torch.__version__
    assert {"numpy", "scipy", "monai"} <= set(found)


def test_the_commit_is_that_of_this_code_or_none(tmp_path: Path) -> None:
    """In a repository of its own, where the code is tracked, changed, and not tracked."""
    package = tmp_path / "trainers"
    package.mkdir()
    shutil.copy(REPOSITORY / "trainers" / "run_folder.py", package)

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    def seen() -> str | None:
        return commit(package / "run_folder.py")

    git("init", "-q")
    (tmp_path / "other.txt").write_text("somebody else's")
    git("add", "other.txt")
    git("commit", "-q", "-m", "other")
    assert seen() is None
    git("add", "trainers")
    git("commit", "-q", "-m", "ours")
    assert seen() == git("rev-parse", "HEAD")
    with open(package / "run_folder.py", "a") as file:
        file.write("\n# changed\n")
    assert seen() == git("rev-parse", "HEAD") + "+"
    assert commit() is None or len(commit().rstrip("+")) == 40  # type: ignore[union-attr]


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / EVENTS_FOLDER))
    events.Reload()
    return [(event.step, pytest.approx(event.value, rel=1e-6)) for event in events.Scalars(name)]


def test_the_curves_have_a_point_for_each_epoch_also_after_an_interruption(tmp_path: Path) -> None:
    heard: list[Progress] = []

    def lose(progress: Progress) -> None:
        if progress.epoch == 2:
            (tmp_path / "checkpoint.pt").replace(tmp_path / "kept.pt")
            raise TrainingStopped

    def keep(progress: Progress) -> None:
        if progress.epoch == 1:
            shutil.copy(tmp_path / "checkpoint.pt", tmp_path / "first.pt")
        lose(progress)

    with pytest.raises(TrainingStopped):
        trained(tmp_path, report=keep)
    shutil.copy(tmp_path / "first.pt", tmp_path / "checkpoint.pt")  # as if it had been killed before the second
    trained(tmp_path, report=heard.append)
    assert [step for step, _ in curve(tmp_path, "loss")] == [3, 6, 9]
    assert curve(tmp_path, "loss")[1:] == [(progress.step, progress.loss) for progress in heard]
    assert curve(tmp_path, "watched_dice")[1:] == [(progress.step, progress.watched_dice) for progress in heard]
    rates = [value for _, value in curve(tmp_path, "learning_rate")]
    assert len(rates) == 3
    assert [step for step, _ in curve(tmp_path, "waited_share")] == [3, 6, 9]


def test_the_checksum_of_weights_sees_names_and_values() -> None:
    first, second = random_network(2), random_network(2)
    assert weights_sha256(first) == weights_sha256(second)
    with torch.no_grad():
        second.last.bias[0] += 1
    assert weights_sha256(first) != weights_sha256(second)


def test_the_summary_of_slices_sees_which_have_lung() -> None:
    def slices(has_lung: list[bool]) -> SliceSet:
        blank = np_zeros(len(has_lung))
        return SliceSet([VolumeSlices(TrainingSlices(blank, blank, torch.tensor(has_lung).numpy()), "p")])

    def np_zeros(count: int):  # type: ignore[no-untyped-def]
        return torch.zeros(count, 16, 16).numpy()

    first = slices_summary(slices([True, False, False]))
    assert first == slices_summary(slices([True, False, False]))
    assert first["with_lung"] == 1 and first["slices"] == 3 and first["size"] == 16
    assert first != slices_summary(slices([False, True, False]))


def test_another_training_in_the_same_folder_without_a_checkpoint_has_its_own_config(tmp_path: Path) -> None:
    trained(tmp_path, replace(RECIPE, epochs=1))
    (tmp_path / "checkpoint.pt").unlink()
    trained(tmp_path, replace(RECIPE, epochs=2))
    assert config(tmp_path)["training"]["recipe"]["epochs"] == 2  # type: ignore[index]
    assert len(config(tmp_path)["sessions"]) == 1


def test_the_loop_is_imported_without_what_only_some_trainings_need() -> None:
    """TensorBoard and MONAI take seconds."""
    script = "import sys, trainers.training; print([m for m in ('monai', 'tensorboard') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
