"""Training is the same every time, also after a crash; tiny networks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import REPOSITORY

from infers.unet import UNet
from trainers.augmentation import BatchAugment, each_slice
from trainers.slices import SliceSet, TrainingSlices, VolumeSlices
from trainers.training import (
    CHECKPOINT_FILE,
    Progress,
    Stage,
    TrainingPlan,
    learning_rate,
    mean_dice,
    segmentation_loss,
    train,
)

PLAN = TrainingPlan(seed=1, steps=6, base_channels=2, small_steps=2, with_lung=2, without_lung=2, learning_rate=0.01)


def boxes() -> SliceSet:
    """32 slices of 32 x 32; every other one shows a right and a left lung, dark on bright."""
    labels = np.zeros((32, 32, 32), np.uint8)
    for index in range(0, 32, 2):
        top = 4 + index // 4
        labels[index, top : top + 14, 3:14], labels[index, top : top + 14, 18:29] = 1, 2
    slices = TrainingSlices(np.where(labels > 0, 0.1, 0.7).astype(np.float16), labels, labels.any(axis=(1, 2)))
    return SliceSet([VolumeSlices(slices, "boxes")])


def noisy_slice(
    image: np.ndarray, labels: np.ndarray, random: np.random.Generator, size: int
) -> tuple[np.ndarray, np.ndarray]:
    step = len(image) // size
    smaller = image[::step, ::step]
    noise = random.standard_normal(smaller.shape, dtype=np.float32)
    return (smaller + np.float32(0.02) * noise).clip(0, 1), labels[::step, ::step]


noisy, noisy_half = each_slice(noisy_slice, 32), each_slice(noisy_slice, 16)


def trained(folder: Path, plan: TrainingPlan = PLAN, **how: object) -> dict[str, torch.Tensor]:
    folder.mkdir(exist_ok=True)
    return train(plan, boxes(), noisy, folder, half_size_augment=noisy_half, **how).state_dict()  # type: ignore[arg-type]


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("half_precision", [False, True])
def test_one_seed_gives_the_same_weights_to_the_bit(tmp_path: Path, optimizer: str, half_precision: bool) -> None:
    plan = replace(PLAN, optimizer=optimizer, half_precision=half_precision)
    assert equal(trained(tmp_path / "a", plan), trained(tmp_path / "b", plan))


@pytest.mark.parametrize(
    "change",
    [{"seed": 2}, {"optimizer": "adamw"}, {"learning_rate": 0.02}, {"weight_decay": 0.1}, {"small_steps": 0},
     {"with_lung": 3}, {"without_lung": 3}, {"half_precision": True}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_part_of_the_plan_counts(tmp_path: Path, change: dict[str, object]) -> None:
    changed = replace(PLAN, **change)  # type: ignore[arg-type]
    assert not equal(trained(tmp_path / "a"), trained(tmp_path / "b", changed))


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path, optimizer: str) -> None:
    plan = replace(PLAN, optimizer=optimizer)
    steps: list[int] = []

    def stop(progress: Progress) -> None:
        steps.append(progress.step)
        if progress.step in (2, 4):
            raise StoppedError  # before the checkpoint of this step is written

    with pytest.raises(StoppedError):
        trained(tmp_path / "a", plan, report=stop, report_every=1)
    with pytest.raises(StoppedError):
        trained(tmp_path / "a", plan, report=lambda progress: stop(replace(progress, step=progress.step + 1)),
                report_every=1)  # fmt: skip
    resumed = trained(tmp_path / "a", plan, report=lambda progress: steps.append(progress.step), report_every=1)
    assert steps == [1, 2, 3, 4, 3, 4, 5, 6]
    assert equal(resumed, trained(tmp_path / "b", plan))


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path[:0] = ["tests", "tests/trainers"]
from test_training_loop import PLAN, boxes, noisy, noisy_half
from trainers.training import train

def kill(progress):
    if progress.step == 4:
        os.kill(os.getpid(), signal.SIGKILL)

train(PLAN, boxes(), noisy, Path(sys.argv[1]), half_size_augment=noisy_half, report=kill, report_every=1)
"""


def test_training_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    killed = tmp_path / "a"
    killed.mkdir()
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", KILLED, str(killed)], cwd=REPOSITORY, env=environment, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert torch.load(killed / CHECKPOINT_FILE, weights_only=True)["step"] == 3
    assert equal(trained(killed), trained(tmp_path / "b"))


def test_a_checkpoint_of_another_plan_is_refused(tmp_path: Path) -> None:
    trained(tmp_path / "a")
    with pytest.raises(ValueError, match="belongs to another training"):
        trained(tmp_path / "a", replace(PLAN, steps=7))


def test_it_learns_and_says_how_far_it_is(tmp_path: Path) -> None:
    heard: list[Progress] = []
    plan = replace(PLAN, steps=120, small_steps=40, base_channels=4, learning_rate=0.05)
    network = train(
        plan, boxes(), noisy, tmp_path, half_size_augment=noisy_half,
        report=heard.append, report_every=40, held_out=boxes(), validate_every=80,
    )  # fmt: skip
    assert [progress.step for progress in heard] == [40, 80, 120]
    assert [progress.validation_dice is None for progress in heard] == [True, False, False]
    assert heard[-1].loss < 0.5 * heard[0].loss
    assert heard[-1].validation_dice is not None and heard[-1].validation_dice > 0.9
    assert heard[0].left_s > 0 and heard[-1].left_s == 0 and heard[-1].slices_per_s > 0
    assert not network.training


def listening(heard: Callable[[np.random.Generator, int], object]) -> dict[str, BatchAugment]:
    def listen(
        image: np.ndarray, labels: np.ndarray, random: np.random.Generator, size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        heard(random, size)
        return noisy_slice(image, labels, random, size)

    return {"augment": each_slice(listen, 32), "half_size_augment": each_slice(listen, 16)}


def test_each_slice_of_each_step_has_its_own_randomness(tmp_path: Path) -> None:
    drawn: list[float] = []
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        augments = listening(lambda random, _: drawn.append(random.random()))
        train(replace(PLAN, seed=seed), boxes(), folder=tmp_path / str(seed), **augments)
    assert len(set(drawn)) == len(drawn) == 2 * 6 * 4


def test_the_first_steps_are_smaller_where_the_rate_still_rises(tmp_path: Path) -> None:
    def one_step(steps: int) -> torch.Tensor:
        def stop(progress: Progress) -> None:
            if progress.step == 2:
                raise StoppedError

        plan = replace(PLAN, steps=steps, weight_decay=0.0)
        with pytest.raises(StoppedError):
            trained(tmp_path / str(steps), plan, report=stop, report_every=1)
        state = torch.load(tmp_path / str(steps) / CHECKPOINT_FILE, weights_only=True)["network"]
        torch.manual_seed(plan.seed)
        return state["last.weight"] - UNet(base_channels=2).last.weight.detach()

    torch.testing.assert_close(one_step(100), one_step(6) / 4, rtol=1e-3, atol=1e-6)  # the first of 4 rising steps


def test_progress_reads_as_a_line() -> None:
    progress = Progress(50, 200, 0.25, None, 12.34, 90.0)
    assert str(progress) == "step 50/200, loss 0.2500, 12.3 slices/s, 1.5 min left"
    assert "loss 0.2500, validation Dice 0.9812, " in str(replace(progress, validation_dice=0.98123))


def test_measuring_changes_nothing(tmp_path: Path) -> None:
    measured = trained(tmp_path / "a", held_out=boxes(), report_every=1, validate_every=2)
    assert equal(measured, trained(tmp_path / "b"))


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the loss of step 1 is nan"):
        train(replace(PLAN, small_steps=0), boxes(), lambda images, labels, _: (images * torch.nan, labels), tmp_path)


def test_steps_of_half_the_size_need_to_be_told_how(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="step 1 needs slices of half the size, but half_size_augment is missing"):
        train(PLAN, boxes(), noisy, tmp_path)


def test_an_unknown_optimizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected the optimizer as `sgd` or `adamw`, got 'lion'"):
        trained(tmp_path / "a", replace(PLAN, optimizer="lion"))


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    plan = replace(PLAN, steps=100)
    rates = [learning_rate(plan, step) for step in range(100)]
    assert max(rates) == rates[3] == rates[4] == 0.01
    assert rates[:4] == sorted(rates[:4]) and rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[0] == pytest.approx(0.0025) and rates[-1] < 1e-5


STAGED = replace(PLAN, stages=(Stage(2, True, 0.01, 4.0, 1), Stage(3, False, 0.02, 3), Stage(1, True, 0.05, 1)))


def test_stages_have_their_own_rates_and_sizes(tmp_path: Path) -> None:
    rates = [learning_rate(STAGED, step) for step in range(6)]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.02, 0.015, 0.005, 0.05])
    sizes: list[int] = []

    train(STAGED, boxes(), folder=tmp_path, **listening(lambda _, size: sizes.append(size)))
    assert sizes[::4] == [16, 16, 32, 32, 32, 16]


def test_training_in_stages_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.step == 4:
            raise StoppedError

    with pytest.raises(StoppedError):
        trained(tmp_path / "a", STAGED, report=stop, report_every=1)
    assert equal(trained(tmp_path / "a", STAGED), trained(tmp_path / "b", STAGED))
    assert not equal(trained(tmp_path / "b", STAGED), trained(tmp_path / "c"))


def test_stages_have_to_add_up() -> None:
    with pytest.raises(ValueError, match=r"expected stages of 7 steps in all, got \[2, 3, 1\]"):
        replace(STAGED, steps=7)


def test_the_loss_is_lowest_for_the_truth() -> None:
    labels = torch.from_numpy(boxes().read(range(4))[1]).long()
    certain = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    truth = segmentation_loss(torch.log_softmax(40 * certain, 1), labels)
    swapped = segmentation_loss(torch.log_softmax(40 * certain[:, [0, 2, 1]], 1), labels)
    unsure = segmentation_loss(torch.log_softmax(0 * certain, 1), labels)
    assert truth < 1e-3
    assert truth < unsure < swapped
    assert unsure > np.log(3)  # cross-entropy alone is that; Dice comes on top


def test_dice_is_that_of_both_lungs(tmp_path: Path) -> None:
    slices = boxes()
    network = UNet(base_channels=2)
    with torch.no_grad():
        network.last.weight.zero_()
        network.last.bias[:] = torch.tensor([0.0, 1.0, 0.0])  # all is right lung
    share = np.mean(slices.read(range(len(slices)))[1] == 1)
    assert mean_dice(network, slices) == pytest.approx((2 * share / (1 + share) + 0) / 2)
