"""Each loss against its definition in plain NumPy, and where a class is missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainers.losses import DICE_SMOOTHING, TANIMOTO_SMOOTHING, loss_named
from trainers.recipe import LOSSES

BATCH = (4, 3, 16, 16)
Planes = np.ndarray  # (classes, pixels of the minibatch)


def labels(missing: int | None = None) -> Tensor:
    made = torch.zeros(BATCH[0], *BATCH[2:], dtype=torch.int64)
    made[:2, 3:12, 2:7], made[:2, 2:13, 9:14] = 1, 2
    return torch.where(made == missing, 0, made) if missing is not None else made


def scores(seed: int = 1) -> Tensor:
    return torch.randn(BATCH, generator=torch.Generator().manual_seed(seed))


def planes(logarithms: Tensor, truth: Tensor) -> tuple[Planes, Planes]:
    """Probabilities and truth of each class over the whole minibatch, in double precision."""
    found = logarithms.double().exp().permute(1, 0, 2, 3).flatten(1).numpy()
    there = np.stack([(truth == label).numpy().ravel() for label in range(BATCH[1])]).astype(float)
    return found, there


def cross_entropies(p: Planes, r: Planes) -> np.ndarray:
    return -np.log((p * r).sum(axis=0))


def dice(p: Planes, r: Planes) -> float:
    smooth = DICE_SMOOTHING
    parts = [(2 * (a * b).sum() + smooth) / (a.sum() + b.sum() + smooth) for a, b in zip(p, r, strict=True)]
    return float(1 - np.mean(parts[1:]))


def generalized_dice(p: Planes, r: Planes) -> float:
    weights = np.array([1 / plane.sum() ** 2 if plane.any() else np.nan for plane in r])
    weights = np.where(np.isnan(weights), np.nanmax(weights), weights)
    return float(1 - 2 * (weights @ (p * r).sum(axis=1)) / (weights @ (p + r).sum(axis=1)))


def tanimoto(p: Planes, r: Planes) -> float:
    s, both = TANIMOTO_SMOOTHING, (p * r).sum(axis=1)
    return float(1 - np.mean((both + s) / ((p * p).sum(axis=1) + (r * r).sum(axis=1) - both + s)))


def topk(p: Planes, r: Planes) -> float:
    return float(np.sort(cross_entropies(p, r))[-round(0.3 * p.shape[1]) :].mean())


DEFINITIONS = {
    "cross_entropy": lambda p, r: cross_entropies(p, r).mean(),
    "dice": dice,
    "generalized_dice": generalized_dice,
    "dice_ce": lambda p, r: dice(p, r) + cross_entropies(p, r).mean(),
    "topk_ce": topk,
    "generalized_dice_topk_ce": lambda p, r: generalized_dice(p, r) + topk(p, r),
    "tanimoto_ce": lambda p, r: 0.6 * tanimoto(p, r) + 0.4 * cross_entropies(p, r).mean(),
}


@pytest.mark.parametrize("missing", [None, 2])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_what_its_paper_says(name: str, missing: int | None) -> None:
    logarithms, truth = functional.log_softmax(scores(), 1), labels(missing)
    found = loss_named(name)(logarithms, truth)
    assert found.shape == () and found.dtype == torch.float32
    assert float(found) == pytest.approx(float(DEFINITIONS[name](*planes(logarithms, truth))), rel=2e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_minibatch_of_real_size_loses_no_precision(name: str) -> None:
    truth = torch.zeros(6, 256, 256, dtype=torch.int64)
    truth[:3, 50:52, 60:62], truth[:3, 30:200, 140:220] = 1, 2  # the first is tiny
    logarithms = functional.log_softmax(3 * functional.one_hot(truth, 3).permute(0, 3, 1, 2).float(), 1)
    p, r = planes(logarithms, truth)
    assert float(loss_named(name)(logarithms, truth)) == pytest.approx(float(DEFINITIONS[name](p, r)), rel=1e-4)


@pytest.mark.parametrize("missing", [None, 1, "both"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_step_against_the_gradient_makes_a_loss_smaller(name: str, missing: int | str | None) -> None:
    truth = torch.zeros_like(labels()) if missing == "both" else labels(missing)  # type: ignore[arg-type]
    free, loss = scores().requires_grad_(), loss_named(name)
    value = loss(functional.log_softmax(free, 1), truth)
    value.backward()
    assert free.grad is not None and free.grad.isfinite().all() and free.grad.abs().sum() > 0
    moved = free.detach() - 0.05 * free.grad / free.grad.abs().max()
    assert loss(functional.log_softmax(moved, 1), truth) < value


@pytest.mark.parametrize("missing", [None, 1])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_lowest_for_the_truth(name: str, missing: int | None) -> None:
    truth, loss = labels(missing), loss_named(name)
    certain = 40 * functional.one_hot(truth, 3).permute(0, 3, 1, 2).float()
    values = [float(loss(functional.log_softmax(made, 1), truth)) for made in (certain, 0 * certain)]
    swapped = float(loss(functional.log_softmax(certain[:, [0, 2, 1]], 1), truth))
    assert values[0] < 1e-4 < min(values[1], swapped)


def test_the_easy_pixels_have_no_gradient_in_topk() -> None:
    free = scores().requires_grad_()
    logarithms = functional.log_softmax(free, 1)
    loss_named("topk_ce")(logarithms, labels()).backward()
    assert free.grad is not None
    learning = free.grad.abs().sum(dim=1) > 0
    assert int(learning.sum()) == round(0.3 * learning.numel())
    each = functional.nll_loss(logarithms.detach(), labels(), reduction="none")
    assert each[learning].min() >= each[~learning].max()


def test_slices_without_lung_are_not_each_wholly_missed() -> None:
    """As they would be if overlaps were averaged over slices."""
    truth = labels()
    almost = functional.log_softmax(8 * functional.one_hot(truth, 3).permute(0, 3, 1, 2).float(), 1)
    for name in ("dice", "generalized_dice", "tanimoto_ce"):
        assert float(loss_named(name)(almost, truth)) < 0.02


def test_a_class_that_is_neither_there_nor_found_costs_nothing_in_dice() -> None:
    nothing = torch.zeros(2, 8, 8, dtype=torch.int64)
    certain = functional.log_softmax(60 * functional.one_hot(nothing, 3).permute(0, 3, 1, 2).float(), 1)
    assert float(loss_named("dice")(certain, nothing)) == pytest.approx(0, abs=1e-6)
    certain[0, :, 0, 0] = certain[0, [1, 0, 2], 0, 0]  # one pixel of class 1
    assert float(loss_named("dice")(certain, nothing)) == pytest.approx((1 - 1 / 2) / 2, abs=1e-6)
