"""Which slices each step learns from: as many with lung as without."""

from __future__ import annotations

import numpy as np


def draw_batch(has_lung: np.ndarray, seed: int, step: int, with_lung: int = 7, without_lung: int = 7) -> np.ndarray:
    """The slices of one minibatch; a function of seed and step alone, so that training can go on anywhere.

    >>> has_lung = np.array([True, False] * 10)
    >>> batch = draw_batch(has_lung, seed=1, step=5)
    >>> int(has_lung[batch].sum()), len(batch)
    (7, 14)

    Args:
        has_lung: (slices,) bool.
        seed: Of the training.
        step: Number of the step.
        with_lung: How many slices with lung; no slice comes twice if there are enough.
        without_lung: How many slices without.

    Returns:
        (with_lung + without_lung,) indices, the slices with lung first.

    Raises:
        ValueError: If there are no slices of a kind that is asked for.

    Source: Hofmanninger et al. 2020, section II-B.
    """
    random = np.random.default_rng([seed, step])
    chosen = []
    for kind, wanted in ((True, with_lung), (False, without_lung)):
        places = np.flatnonzero(has_lung == kind)
        if wanted and not len(places):
            raise ValueError(
                f"expected slices {'with' if kind else 'without'} lung, got none among {len(has_lung)} slices"
            )
        chosen.append(random.choice(places, wanted, replace=len(places) < wanted) if wanted else places[:0])
    return np.concatenate(chosen)
