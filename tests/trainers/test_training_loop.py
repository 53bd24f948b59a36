"""What a training does: the same every time, what its recipe says, and it learns; tiny networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import random_network
from torch import Tensor
from training_boxes import RECIPE, Weights, boxes, equal, noisy, small_noisy, trained

from infers.unet import UNet
from trainers.recipe import Stage, in_stages
from trainers.slices import SliceSet, TrainingSlices, VolumeSlices
from trainers.training import CHECKPOINT_FILE, DivergedError, Progress, train
from trainers.validation import mean_dice

STAGED = in_stages(replace(RECIPE, steps_per_epoch=4), (Stage(2, True, 0.01, 4.0, 1), Stage(3, False, 0.02, 3)))


@pytest.mark.parametrize("change", [{}, {"optimizer": "adamw", "mixed_precision": "on"}], ids=["sgd", "adamw-half"])
def test_one_seed_gives_the_same_weights_to_the_bit(tmp_path: Path, change: dict[str, object]) -> None:
    recipe = replace(RECIPE, **change)  # type: ignore[arg-type]
    assert equal(trained(tmp_path / "a", recipe), trained(tmp_path / "b", recipe))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return trained(tmp_path_factory.mktemp("undisturbed"), replace(RECIPE, epochs=1, keep_best=False))


@pytest.mark.parametrize(
    "change",
    [{"seed": 2}, {"optimizer": "adam"}, {"learning_rate": 0.02}, {"weight_decay": 0.1}, {"momentum": 0.5},
     {"loss": "topk_ce"}, {"schedule": "constant"}, {"warm_share": 0.0}, {"clip_norm": 0.01}, {"with_lung": 3},
     {"without_lung": 3}, {"mixed_precision": "on"}, {"steps_per_epoch": 4}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_every_part_of_the_recipe_counts(tmp_path: Path, undisturbed: Weights, change: dict[str, object]) -> None:
    recipe = replace(RECIPE, epochs=1, keep_best=False, schedule=change.pop("schedule", "cosine"))
    if "warm_share" in change:
        recipe = replace(recipe, warm_share=0.9)  # of three steps, 4 % are one: no rise at all
        undisturbed = trained(tmp_path / "warm", recipe)
    assert not equal(undisturbed, trained(tmp_path / "a", replace(recipe, **change)))  # type: ignore[arg-type]


def test_the_randomness_of_the_program_neither_counts_nor_is_disturbed(tmp_path: Path, undisturbed: Weights) -> None:
    torch.manual_seed(99)
    expected = torch.rand(3)
    torch.manual_seed(99)
    assert equal(trained(tmp_path, replace(RECIPE, epochs=1, keep_best=False)), undisturbed)
    assert torch.equal(torch.rand(3), expected)


def test_it_learns_and_says_how_far_it_is(tmp_path: Path) -> None:
    heard: list[Progress] = []
    recipe = replace(RECIPE, epochs=3, steps_per_epoch=30, base_channels=4, learning_rate=0.05, loss="dice_ce", seed=3)
    network = train(recipe, boxes(), tmp_path, augment=noisy, validation=boxes(7), report=heard.append, device="cpu")
    ends = [progress for progress in heard if progress.watched_dice is not None]
    assert [(progress.epoch, progress.step) for progress in ends] == [(1, 30), (2, 60), (3, 90)]
    assert all((progress.epochs, progress.steps) == (3, 90) for progress in heard)
    assert ends[-1].loss < 0.5 * ends[0].loss
    assert ends[-1].best_dice == max(progress.watched_dice for progress in ends) > 0.9  # type: ignore[type-var]
    assert ends[0].left_s > 0 and ends[-1].left_s == 0 and ends[-1].slices_per_s > 0
    assert all(0 <= progress.waited_share <= 1 for progress in heard)
    assert not network.training and mean_dice(network, boxes(7)) == ends[-1].best_dice


def test_the_best_weights_come_out_and_the_training_ends_when_none_get_better(tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=8, patience=2, learning_rate=0.05)
    heard: list[Progress] = []
    best = trained(tmp_path / "a", recipe, report=heard.append)
    dices = [progress.watched_dice for progress in heard if progress.watched_dice is not None]
    assert len(dices) == 3 and dices[0] > max(dices[1:])
    assert heard[-1].best_dice == dices[0] and heard[-1].left_s == 0
    assert equal(best, torch.load(tmp_path / "a" / CHECKPOINT_FILE, weights_only=True)["best_weights"])
    assert not equal(best, torch.load(tmp_path / "a" / CHECKPOINT_FILE, weights_only=True)["network"])

    last = trained(tmp_path / "b", replace(recipe, keep_best=False))
    assert equal(last, torch.load(tmp_path / "a" / CHECKPOINT_FILE, weights_only=True)["network"])
    heard.clear()
    trained(tmp_path / "c", replace(recipe, patience=0), report=heard.append)
    assert heard[-1].epoch == 8


@pytest.mark.parametrize("none", [None, SliceSet([VolumeSlices(TrainingSlices(
    np.zeros((0, 32, 32), np.float16), np.zeros((0, 32, 32), np.uint8), np.zeros(0, bool)), "nobody")])],
    ids=["none", "empty"])  # fmt: skip
def test_without_validation_the_last_weights_come_out(tmp_path: Path, none: SliceSet | None) -> None:
    heard: list[Progress] = []
    made = trained(tmp_path / "a", replace(RECIPE, patience=1), validation=none, report=heard.append)
    assert equal(made, torch.load(tmp_path / "a" / CHECKPOINT_FILE, weights_only=True)["network"])
    assert heard[-1].epoch == 3 and heard[-1].watched_dice is None and heard[-1].best_dice is None


def test_measuring_changes_nothing(tmp_path: Path) -> None:
    recipe = replace(RECIPE, keep_best=False)
    assert equal(trained(tmp_path / "a", recipe), trained(tmp_path / "b", recipe, validation=None))


def test_progress_is_heard_between_the_ends_of_epochs_too(tmp_path: Path) -> None:
    heard: list[Progress] = []
    trained(tmp_path, replace(RECIPE, epochs=2), report=heard.append, report_every_s=0.0)
    assert [(progress.epoch, progress.step) for progress in heard] == [
        (1, 1), (1, 2), (1, 3), (1, 3), (2, 4), (2, 5), (2, 6), (2, 6)]  # fmt: skip
    assert [progress.watched_dice is None for progress in heard] == [True, True, True, False] * 2
    assert heard[2].loss == heard[3].loss != heard[6].loss == heard[7].loss


def test_progress_reads_as_a_line() -> None:
    progress = Progress(2, 8, 50, 200, 0.25, None, 0.9, 12.34, 90.0)
    assert str(progress) == "epoch 2/8, step 50/200, loss 0.2500, 12.3 slices/s, 1.5 min left"
    line = str(replace(progress, watched_dice=0.98123, parts=2))
    assert "loss 0.2500, watched Dice 0.9812, " in line and line.endswith(", minibatches in 2 parts")


def test_training_goes_on_from_given_weights_and_leaves_them_alone(tmp_path: Path) -> None:
    start = random_network(2)
    before = {name: tensor.clone() for name, tensor in start.state_dict().items()}
    slow = replace(RECIPE, learning_rate=1e-6, keep_best=False, weight_decay=0.0)
    made = trained(tmp_path / "a", slow, start_from=start)
    assert equal(start.state_dict(), before) and not start.training
    for name, weight in start.named_parameters():
        torch.testing.assert_close(made[name], weight.detach(), rtol=0, atol=1e-4)
    assert not equal(made, trained(tmp_path / "b", slow))
    with pytest.raises(ValueError, match="expected weights of 3 classes and 2 base channels, got 3 and 4"):
        trained(tmp_path / "c", slow, start_from=UNet(base_channels=4))


def test_weights_in_half_precision_can_be_started_from(tmp_path: Path) -> None:
    made = trained(tmp_path, replace(RECIPE, epochs=1), start_from=random_network(2).half())
    assert all(tensor.dtype != torch.float16 for tensor in made.values())


def test_each_step_has_its_own_slices_and_its_own_randomness(tmp_path: Path) -> None:
    drawn: list[float] = []
    shown: list[Tensor] = []

    def listen(images: Tensor, labels: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        drawn.append(random.random())
        shown.append(images.clone())
        assert images.shape == (4, 1, 32, 32) and images.dtype == torch.float32
        assert labels.shape == (4, 32, 32) and labels.flatten(1).any(dim=1).tolist() == [True, True, False, False]
        return noisy(images, labels, random)

    for seed in (1, 2):
        trained(tmp_path / str(seed), replace(RECIPE, seed=seed), augment=listen)
    assert len(set(drawn)) == len(drawn) == 2 * 9
    assert len({tensor.numpy().tobytes() for tensor in shown}) > 15


def test_stages_have_their_own_sizes(tmp_path: Path) -> None:
    sizes: list[int] = []

    def listen(images: Tensor, labels: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        made = small_noisy(images, labels, random)
        sizes.append(made[0].shape[-1])
        return made

    def full(images: Tensor, labels: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        sizes.append(images.shape[-1])
        return noisy(images, labels, random)

    trained(tmp_path / "a", STAGED, augment=full, half_size_augment=listen)
    assert sizes == [16, 16, 32, 32, 32]
    with pytest.raises(ValueError, match="expected an augmentation to half the size"):
        trained(tmp_path / "b", STAGED, half_size_augment=None)
    with pytest.raises(ValueError, match=r"expected 4 augmented slices of 16 x 16, got \(4, 1, 32, 32\)"):
        trained(tmp_path / "c", STAGED, half_size_augment=noisy)


def test_a_loss_that_is_no_number_stops_the_training_before_the_weights_are_spoiled(tmp_path: Path) -> None:
    def spoilt(images: Tensor, labels: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        return images * (float("nan") if random.random() < 0.3 else 1.0), labels

    with pytest.raises(DivergedError, match=r"the loss of step [2-9] is nan: a lower learning rate may help"):
        trained(tmp_path, augment=spoilt, save_every_s=0.0)
    saved = torch.load(tmp_path / CHECKPOINT_FILE, weights_only=True)["network"]
    assert all(tensor.isfinite().all() for tensor in saved.values())


def test_a_gradient_that_is_no_number_stops_the_training_too(tmp_path: Path) -> None:
    start = random_network(2)
    with torch.no_grad():  # the same scores from huge features: the square of their gradient is beyond float32
        start.up_blocks()[-1].conv_block.layers()[-1][1].weight.mul_(1e36)
        start.up_blocks()[-1].conv_block.layers()[-1][1].bias.mul_(1e36)
        start.last.weight.mul_(1e-36)
    with pytest.raises(DivergedError, match="the gradient of step 1 is inf: a lower learning rate may help"):
        trained(tmp_path, start_from=start)


def test_labels_that_the_network_does_not_know_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected labels below 2, the number of classes, got 2"):
        trained(tmp_path, replace(RECIPE, classes=2))


def test_an_unknown_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no device 'tpu' on this machine"):
        trained(tmp_path, device="tpu")
