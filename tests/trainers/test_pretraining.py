"""First weights from synthetic patients, in little."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from infers.models import load_model
from infers.weights import load_weights
from trainers.held_out import CONDITIONS, HEALTHY, judge
from trainers.optimization import learning_rate
from trainers.pretraining import METRICS_FILE, Pretraining, pretrain, train_and_save
from trainers.pretraining_card import pretraining_card
from trainers.slices import SliceSet, TrainingSlices, VolumeSlices
from trainers.training import CHECKPOINT_FILE

PLAN = Pretraining("routine", patients=2, steps=2, base_channels=2, seed=3, held_out=0)


def halves(
    image: np.ndarray, labels: np.ndarray, _random: np.random.Generator, size: int
) -> tuple[np.ndarray, np.ndarray]:
    step = len(image) // size
    return image[::step, ::step].astype(np.float32), labels[::step, ::step]


@pytest.fixture
def boxes() -> SliceSet:
    labels = np.zeros((20, 32, 32), np.uint8)
    labels[::2, 8:24, 3:14], labels[::2, 8:24, 18:29] = 1, 2
    slices = TrainingSlices(np.where(labels > 0, 0.1, 0.7).astype(np.float16), labels, labels.any(axis=(1, 2)))
    return SliceSet([VolumeSlices(slices, "boxes")])


def test_the_plan_says_how_to_train_and_on_whom() -> None:
    plan = Pretraining("anatomy3", patients=200, steps=1000, base_channels=8, seed=5)
    training = plan.training()
    assert (training.seed, training.steps, training.base_channels) == (5, 1000, 8)
    assert (training.optimizer, training.with_lung, training.without_lung) == ("adamw", 7, 7)
    assert (training.loss, training.mixed_precision, training.weight_decay) == ("dice_ce", "on", 1e-3)
    assert (training.clip_norm, training.patience, training.keep_best) == (0.0, 0, False)
    assert [stage.half_size for stage in training.stages] == [True, False]
    assert [stage.learning_rate for stage in training.stages] == [2e-3, 8e-4]
    rates = [learning_rate(training, step) for step in (0, 36, 37, 38, 749, 750, 999)]
    np.testing.assert_allclose(rates, [2e-3 / 38, 2e-3 * 37 / 38, 2e-3, 2e-3, 2.13e-4, 8e-4, 3.2e-8], rtol=0.02)
    assert (plan.learned().cohort, plan.learned().patients, plan.learned().seed) == ("anatomy3", 200, 5)
    assert plan.watched().first >= plan.learned().first + plan.patients
    assert plan.watched().patients == 16 and replace(plan, patients=2).watched().patients == 1


@pytest.mark.parametrize("steps", [1, 2, 5, 77, 2400])
def test_any_number_of_steps_is_made_of_stages(steps: int) -> None:
    plan = replace(PLAN, steps=steps).training()
    assert sum(stage.steps for stage in plan.stages) == steps and min(stage.steps for stage in plan.stages) >= 0
    rates = [learning_rate(plan, step) for step in range(steps)]
    assert 0 < min(rates) <= max(rates) <= 2e-3


def test_weights_are_written_in_half_precision_and_again_the_same(tmp_path: Path, boxes: SliceSet) -> None:
    said: list[str] = []
    plan = PLAN.training()
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        train_and_save(plan, boxes, boxes, halves, folder / "weights.safetensors", said.append)
    first, second = (load_weights(tmp_path / name / "weights.safetensors") for name in "ab")
    assert first.sha256 == second.sha256 and first.network.base_channels == 2
    assert all(torch.equal(tensor, tensor.half().float()) for tensor in first.network.parameters())
    assert len(said) == 2 and "step 2/2" in said[0]


def test_a_cohort_without_diseases_gets_none_by_augmentation() -> None:
    assert PLAN.augment().keywords == {"ill": True}  # type: ignore[attr-defined]
    assert replace(PLAN, cohort="anatomy3").augment().keywords == {"ill": False}  # type: ignore[attr-defined]


def test_finished_training_is_not_begun_anew(tmp_path: Path, boxes: SliceSet) -> None:
    said: list[str] = []
    for _ in range(2):
        train_and_save(PLAN.training(), boxes, boxes, halves, tmp_path / "weights.safetensors", said.append)
    assert len(said) == 1
    assert (tmp_path / CHECKPOINT_FILE).exists()


def test_the_card_has_the_figures() -> None:
    row = {"number": 1, "right": 0.9, "left": 0.7, "threshold_right": 0.5, "threshold_left": 0.25}
    metrics = {
        "command": "lungapp pretrain --cohort routine",
        "sha256": "5e" * 32,
        "pretraining": {"cohort": "routine", "base_channels": 2, "patients": 7, "seed": 3},
        "training": {"with_lung": 7, "without_lung": 6, "optimizer": "adamw",
                     "stages": [{"steps": 3, "half_size": True, "learning_rate": 0.002},
                                {"steps": 7, "half_size": False, "learning_rate": 0.001}]},
        "training_slices": 300,
        "training_slices_with_lung": 200,
        "held_out": {"mass": [row, {**row, "right": 0.8, "left": None}], "covid": []},
    }  # fmt: skip
    card = pretraining_card(metrics)
    assert "| mass | 2 | 0.850 | 0.700 | 0.700 | 0.500 | 0.250 |" in card and "| covid" not in card
    for words in ("`lungapp pretrain --cohort routine`", "5e5e", "300 slices, 200 with lung", "no real scan",
                  "| 3 steps | slices of 128 x 128, highest rate 0.002 |",
                  "| 7 steps | slices of 256 x 256, highest rate 0.001 |",
                  "7 slices with lung + 6 without"):  # fmt: skip
        assert words in card.replace("**", "")
    assert "## Figures" not in pretraining_card({**metrics, "held_out": {"mass": []}})


@pytest.mark.slow
def test_patients_are_judged_lung_by_lung_and_disease_by_disease() -> None:
    rows = judge(load_model("threshold"), 3, 1, conditions=(HEALTHY, "effusion"))
    assert set(rows) < set(CONDITIONS) and list(rows) == [HEALTHY, "effusion"]
    (healthy,), (ill,) = rows.values()
    assert healthy["right"] == healthy["threshold_right"] > 0.95
    assert min(ill["right"], ill["left"]) < min(healthy["right"], healthy["left"])
    assert healthy["number"] != ill["number"]


@pytest.mark.slow
def test_the_whole_way_from_patients_to_metrics(tmp_path: Path) -> None:
    metrics = pretrain(PLAN, tmp_path, "as typed")
    weights = load_weights(tmp_path / "weights.safetensors")
    assert json.loads((tmp_path / METRICS_FILE).read_text()) == metrics
    assert metrics["sha256"] == weights.sha256 and metrics["command"] == "as typed"
    assert metrics["pretraining"]["patients"] == 2 and metrics["training_slices"] > 30
    assert weights.sha256 in (tmp_path / "README.md").read_text()
