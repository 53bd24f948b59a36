"""Where memory does not suffice, minibatches are computed in parts, and nothing else changes."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import random_network
from torch import Tensor
from training_boxes import RECIPE, equal, noisy, trained

from infers.unet import UNet
from trainers.checkpoints import CHECKPOINT_FILE
from trainers.memory import OutOfMemoryError, is_short_of_memory
from trainers.training import Progress, TrainingStopped

TOO_MUCH = 10**15  # floats: no machine has them, so torch says what it says where memory is short
WHOLE = replace(RECIPE, with_lung=3, without_lung=3, keep_best=False)


def network_that_runs_short(times: int) -> UNet:
    """At its last layer, when all batch normalisations have taken notice of the slices already."""
    network, calls = random_network(2), []

    def allocate(*_: object) -> None:
        calls.append(1)
        if len(calls) in range(3, 3 + times):  # in the third step, as each of the first takes one
            torch.empty(TOO_MUCH)

    network.last.register_forward_pre_hook(allocate)
    return network


@pytest.mark.parametrize(("times", "parts"), [(1, 2), (2, 4), (3, 6)])
def test_a_minibatch_that_does_not_fit_is_computed_in_parts_from_then_on(
    tmp_path: Path, times: int, parts: int, caplog: pytest.LogCaptureFixture
) -> None:
    """To the same weights as if it had been in parts from that step on."""
    heard: list[Progress] = []
    with caplog.at_level(logging.WARNING):
        made = trained(tmp_path / "a", WHOLE, start_from=network_that_runs_short(times), report=heard.append)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * times
    assert caplog.messages[-1].startswith("step 3: ") and "DefaultCPUAllocator" in caplog.messages[-1]
    assert caplog.messages[-1].endswith(f"minibatches are computed in {parts} parts now")
    assert {progress.parts for progress in heard} == {parts} and f"in {parts} parts" in str(heard[-1])

    with pytest.raises(TrainingStopped):
        trained(tmp_path / "b", WHOLE, start_from=random_network(2), should_stop=at_question(3))
    assert torch.load(tmp_path / "b" / CHECKPOINT_FILE, weights_only=True)["step"] == 2
    assert equal(made, trained(tmp_path / "b", WHOLE, start_from=random_network(2), parts=parts))


def at_question(number: int) -> Callable[[], bool]:
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) == number

    return should_stop


def test_it_is_remembered_when_the_training_was_interrupted(tmp_path: Path) -> None:
    heard: list[Progress] = []
    with pytest.raises(TrainingStopped):
        trained(tmp_path, WHOLE, start_from=network_that_runs_short(1), should_stop=at_question(4))
    trained(tmp_path, WHOLE, start_from=random_network(2), report=heard.append)
    assert {progress.parts for progress in heard} == {2}


def test_where_not_even_one_slice_fits_that_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    words = "minibatches in 6 parts do not fit into memory: .*DefaultCPUAllocator"
    with pytest.raises(OutOfMemoryError, match=words) as caught:
        trained(tmp_path, WHOLE, start_from=network_that_runs_short(100), save_every_s=0.0)
    assert caught.value.parts == 6 and caught.value.is_final
    made = trained(tmp_path, WHOLE, start_from=random_network(2))  # say, after other programs have ended
    assert all(tensor.isfinite().all() for tensor in made.values())


def test_memory_that_is_short_in_making_a_minibatch_costs_no_minibatch(tmp_path: Path) -> None:
    made: list[Tensor] = []

    def sometimes_short(images: Tensor, labels: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        varied = noisy(images, labels, random)
        made.append(varied[0])
        if len(made) == 3:
            torch.empty(TOO_MUCH)
        return varied

    start = random_network(2)
    short = trained(tmp_path / "a", WHOLE, augment=sometimes_short, start_from=start)
    assert sum(torch.equal(one, made[2]) for one in made) == 2
    assert all(tensor.isfinite().all() for tensor in short.values())


def test_other_errors_are_not_taken_for_it(tmp_path: Path) -> None:
    def wrong(images: Tensor, labels: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        return images @ torch.zeros(3, 3), labels

    with pytest.raises(RuntimeError, match="must match|shape|size") as caught:
        trained(tmp_path, augment=wrong)
    assert not isinstance(caught.value, OutOfMemoryError)


@pytest.mark.parametrize(
    ("error", "is_short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 113246208 bytes."), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_memory_are_told_from_others(error: BaseException, is_short: bool) -> None:
    assert is_short_of_memory(error) == is_short


def test_the_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(OutOfMemoryError("does not fit", 4, True)))
    assert str(error) == "does not fit" and (error.parts, error.is_final) == (4, True)
