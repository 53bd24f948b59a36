"""Two processes on the CPU train as one does: the same minibatches, the same weights up to rounding, one writer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import random_network
from torch import Tensor, distributed, nn
from training_boxes import RECIPE, equal, sit, trained

from trainers.distributed import Group, SharedBatchNorm, current_group, share_normalisation
from trainers.launching import Seat, run_on
from trainers.memory import OutOfMemoryError
from trainers.progress import Progress
from trainers.training import TrainingStopped

pytestmark = pytest.mark.slow
# With some seeds a network as small as this multiplies rounding a thousandfold; not with this one.
TWO = replace(
    RECIPE, seed=2, with_lung=3, without_lung=2, loss="dice_ce", epochs=2, keep_best=False, learning_rate=0.02
)
CPUS = ("cpu", "cpu")


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Progress]]:
    """A training by two processes, which was stopped once and killed once."""
    folder, heard = tmp_path_factory.mktemp("together"), []
    killing = partial(sit, folder, TWO, 2)
    with pytest.raises(RuntimeError, match="a training process failed: .*SIGKILL"):
        run_on(CPUS, killing, report=heard.append)
    assert not (folder / "checkpoint.pt").exists()
    heard.clear()
    with pytest.raises(TrainingStopped, match="stopped after step"):
        run_on(CPUS, partial(sit, folder, TWO, -1), report=heard.append, should_stop=lambda: len(heard) > 0)
    assert 0 < torch.load(folder / "checkpoint.pt", weights_only=True)["step"] < TWO.steps
    run_on(CPUS, partial(sit, folder, TWO, -1), report=heard.append)
    return folder, heard


def test_two_processes_see_the_minibatches_of_one_and_end_with_its_weights(
    tmp_path: Path, together: tuple[Path, list[Progress]]
) -> None:
    sit(tmp_path, TWO, -1, Seat(0, "cpu", 1, lambda _: None, lambda: False))
    alone = np.load(tmp_path / "seen-0.npy")
    for rank in (0, 1):
        theirs = np.load(together[0] / f"seen-{rank}.npy")  # of the last session
        np.testing.assert_array_equal(theirs, alone[-len(theirs) :])
    weights = [torch.load(together[0] / f"weights-{rank}.pt") for rank in (0, 1)]
    assert equal(*weights)
    expected = torch.load(tmp_path / "weights-0.pt")
    assert weights[0].keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[0][name].float(), tensor.float(), rtol=1e-3, atol=1e-4)


def test_only_the_first_process_writes_and_tells(together: tuple[Path, list[Progress]]) -> None:
    folder, heard = together
    sessions = json.loads((folder / "config.json").read_text())["sessions"]
    assert len(sessions) == 3 and {session["processes"] for session in sessions} == {2}
    assert len(list((folder / "events").iterdir())) == 3
    ends = [progress for progress in heard if progress.watched_dice is not None]
    assert [progress.step for progress in ends] == [3, 6]
    assert [progress.step for progress in heard] == sorted(progress.step for progress in heard)


def test_where_one_runs_out_of_memory_all_begin_anew_in_more_parts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Three slices go to one process, two to the other, so two parts are the most."""
    run_on(CPUS, partial(_short_of_memory, tmp_path))
    assert "DefaultCPUAllocator" in caplog.text and "minibatches are computed in 2 parts now" in caplog.text
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["parts"] == 2
    assert equal(*(torch.load(tmp_path / f"weights-{rank}.pt") for rank in (0, 1)))
    with pytest.raises(OutOfMemoryError, match="minibatches in 2 parts do not fit into memory"):
        run_on(CPUS, partial(_short_of_memory, tmp_path / "again", always=True))


def _short_of_memory(folder: Path, seat: Seat, always: bool = False) -> None:
    def vary(images: Tensor, labels: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        if seat.rank == 1 and (always or seat.parts == 1):
            torch.empty(10**15)
        return images, labels

    weights = trained(folder, replace(TWO, epochs=1), augment=vary, parts=seat.parts)
    torch.save(weights, folder / f"weights-{seat.rank}.pt")


def test_more_processes_than_slices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="expected at most 1 processes, one for each slice, got 2"):
        run_on(CPUS, partial(sit, tmp_path, replace(TWO, with_lung=1, without_lung=0), -1))


def test_one_device_needs_no_process(tmp_path: Path) -> None:
    seats: list[Seat] = []
    run_on(["cpu"], seats.append)
    assert [(seat.rank, seat.device, seat.parts) for seat in seats] == [(0, "cpu", 1)]
    assert current_group() == Group() and Group().leads


@pytest.fixture
def group_of_one(tmp_path: Path) -> Iterator[Group]:
    distributed.init_process_group("gloo", init_method=(tmp_path / "meeting").as_uri(), rank=0, world_size=1)
    yield current_group()
    distributed.destroy_process_group()


def test_shared_normalisation_is_the_usual_one_where_nobody_shares(group_of_one: Group) -> None:
    usual, shared = random_network(2).train(), random_network(2).train()
    share_normalisation(shared)
    assert sum(isinstance(layer, SharedBatchNorm) for layer in shared.modules()) == 18
    assert not any(type(layer) is nn.BatchNorm2d for layer in shared.modules())
    images = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    for network in (usual, shared):
        network(images)[:, 1].square().mean().backward()
    assert list(usual.state_dict()) == list(shared.state_dict())
    for name, tensor in usual.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
    for one, other in zip(usual.parameters(), shared.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None
        scale = float(one.grad.abs().max()) + 1e-8
        torch.testing.assert_close(other.grad / scale, one.grad / scale, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(shared.eval()(images), usual.eval()(images), rtol=1e-4, atol=1e-4)


def test_a_gradient_that_is_nobodys_is_left_alone(group_of_one: Group) -> None:
    layer = nn.Linear(2, 1)
    layer.weight.grad = torch.tensor([[1.0, 2.0]])
    replace(group_of_one, size=2).add_up_gradients(layer)  # the sum over the one process that there is
    assert torch.equal(layer.weight.grad, Tensor([[1.0, 2.0]])) and layer.bias.grad is None
