"""What a training makes small: cross-entropy, overlaps, and sums of both.

Every loss is one number for a whole minibatch. Overlaps are summed over all its slices before they are divided: half of
them have no lung, and alone each of those would count as wholly missed. MONAI's overlaps are used where the loss needs
one; cross-entropy alone does without MONAI, which takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from trainers.recipe import LOSSES

HARDEST_SHARE = 0.3
DICE_SMOOTHING = 1.0  # pixels
TANIMOTO_SMOOTHING = 1e-5
Loss = Callable[[Tensor, Tensor], Tensor]


def loss_named(name: str) -> Loss:
    """The loss of that name in `LOSSES`.

    The function takes (batch, classes, y, x) float32 logarithms of the probabilities and (batch, y, x) int64 labels,
    and gives a scalar that can be differentiated.

    Raises:
        ValueError: If there is no loss of that name.
    """
    if name not in LOSSES:
        raise ValueError(f"expected the loss as one of {', '.join(LOSSES)}, got {name!r}")
    terms = [(weight, TERMS[term]()) for weight, term in LOSSES[name]]

    def loss(logarithms: Tensor, labels: Tensor) -> Tensor:
        return torch.stack([weight * term(logarithms, labels) for weight, term in terms]).sum()

    return loss


def cross_entropy() -> Loss:
    """Mean over all pixels of minus the logarithm of the true class's probability (IMPACT survey, section 7)."""
    return functional.nll_loss


def topk() -> Loss:
    """Cross-entropy of the 30 % of the minibatch's pixels where it is largest; the others get no gradient.

    At least one pixel is taken.

    Source: Xie et al. 2020, section IV-A: "selecting only K voxels with largest cross entropy", K 30 % of the input.
    """

    def loss(logarithms: Tensor, labels: Tensor) -> Tensor:
        pixels = functional.nll_loss(logarithms, labels, reduction="none").flatten()
        return pixels.topk(max(1, round(HARDEST_SHARE * len(pixels)))).values.mean()

    return loss


def dice() -> Loss:
    """1 - the mean soft Dice of the classes, without background.

    `2 sum(p r) + 1` over `sum(p) + sum(r) + 1`, p the probability of a class and r its truth, over the whole minibatch.
    A class that is neither there nor found costs nothing; one that is found on n pixels where there is none costs
    1 - 1 / (n + 1).

    Source: IMPACT survey, section 7, after Milletari et al. 2016; MONAI's `DiceLoss`.
    """
    from monai.losses import DiceLoss

    return _over_classes(
        DiceLoss(
            include_background=False,
            to_onehot_y=True,
            other_act=torch.exp,
            batch=True,
            smooth_nr=DICE_SMOOTHING,
            smooth_dr=DICE_SMOOTHING,
        )
    )


def generalized_dice() -> Loss:
    """1 - Dice of all classes at once, each weighted by one over the square of its pixels; background is a class.

    A class that is not there has the largest weight of those that are. The usual smoothing of 1e-5 would not be small
    here, where a class weighs one over its pixels: it is left out, since some class is always there.

    Source: Sudre et al. 2017; Xie et al. 2020, section III; MONAI's `GeneralizedDiceLoss`.
    """
    from monai.losses import GeneralizedDiceLoss

    return _over_classes(
        GeneralizedDiceLoss(to_onehot_y=True, other_act=torch.exp, batch=True, smooth_nr=0.0, smooth_dr=0.0)
    )


def tanimoto() -> Loss:
    """1 - the mean Tanimoto coefficient of the classes, background included.

    `sum(p r) + s` over `sum(p p) + sum(r r) - sum(p r) + s`, s = 1e-5. A class that is not there costs almost 1 however
    little of it is found, as the paper says; over the whole minibatch that is rare.

    Source: Kloenne et al. 2020, equation 1; MONAI's `DiceLoss`, whose smoothing counts double here. The paper's text
    has 0.6 and 0.4 as weights of Tanimoto and cross-entropy, its algorithm 1 as exponents: they are weights here.
    """
    from monai.losses import DiceLoss

    return _over_classes(
        DiceLoss(
            to_onehot_y=True,
            other_act=torch.exp,
            squared_pred=True,
            jaccard=True,
            batch=True,
            smooth_nr=2 * TANIMOTO_SMOOTHING,
            smooth_dr=2 * TANIMOTO_SMOOTHING,
        )
    )


def _over_classes(loss: Loss) -> Loss:
    """MONAI wants labels as (batch, 1, y, x)."""
    return lambda logarithms, labels: loss(logarithms, labels[:, None])


TERMS: dict[str, Callable[[], Loss]] = {
    "cross_entropy": cross_entropy,
    "topk": topk,
    "dice": dice,
    "generalized_dice": generalized_dice,
    "tanimoto": tanimoto,
}
