"""Small changes to a slice that a sure network shrugs off: mirrored, turned by a few degrees.

Each is undone on the scores, so that they lie on the slice's own pixels again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from datastore.labels import Structure
from infers.backends import NetworkBackend

ANGLE_DEGREES = 5.0


@dataclass(frozen=True, eq=False)
class Perturbation:
    """A change to slices, and its undoing on scores.

    Attributes:
        name: For reports.
        apply: (slices, size, size) float32 images to the same.
        undo: (slices, classes, size, size) float32 probabilities to the same.
    """

    name: str
    apply: Callable[[np.ndarray], np.ndarray]
    undo: Callable[[np.ndarray], np.ndarray]


def perturbations(structures: Sequence[Structure]) -> list[Perturbation]:
    """As it is, turned both ways, and mirrored where right and left are pairs (lungs, not lobes).

    Args:
        structures: What the network's classes mean.
    """
    unchanged = Perturbation("unchanged", lambda images: images, lambda scores: scores)
    turned = [
        Perturbation(
            f"turned by {angle:+.0f} degrees",
            lambda images, angle=angle: _turned(images[:, np.newaxis], angle)[:, 0],  # type: ignore[misc]
            lambda scores, angle=-angle: _turned(scores, angle),  # type: ignore[misc]
        )
        for angle in (ANGLE_DEGREES, -ANGLE_DEGREES)
    ]
    swapped = _sides_swapped(structures)
    if swapped is None:
        return [unchanged, *turned]
    mirrored = Perturbation(
        "mirrored",
        lambda images: np.ascontiguousarray(images[..., ::-1]),
        lambda scores: np.ascontiguousarray(scores[:, swapped, :, ::-1]),
    )
    return [unchanged, *turned, mirrored]


class PerturbedBackend:
    """Runs a network on each perturbation of the slices.

    Args:
        backend: Of the network.
        variants: Of the slices.
    """

    def __init__(self, backend: NetworkBackend, variants: Sequence[Perturbation]) -> None:
        self.name = backend.name
        self.batch = backend.batch
        self.workers = backend.workers
        self._backend = backend
        self._variants = variants

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Probabilities of each variant, back on the pixels of the slices.

        Args:
            images: (slices, size, size) float32 in 0..1.

        Returns:
            (slices, variants, classes, size, size) float32.
        """
        found = []
        for variant in self._variants:
            scores = torch.from_numpy(self._backend.logits(variant.apply(images)))
            found.append(variant.undo(torch.softmax(scores, dim=1).numpy()))
        return np.stack(found, axis=1)


def _turned(channels: np.ndarray, angle_degrees: float) -> np.ndarray:
    """(slices, channels, size, size) turned about the centre; what comes in from outside is 0."""
    cosine, sine = np.cos(np.deg2rad(angle_degrees)), np.sin(np.deg2rad(angle_degrees))
    matrix = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]], dtype=torch.float32)
    with torch.inference_mode():
        on_host = torch.from_numpy(np.ascontiguousarray(channels))
        grid = functional.affine_grid(matrix.expand(len(on_host), 2, 3), list(on_host.shape), align_corners=False)
        return functional.grid_sample(on_host, grid, mode="bilinear", align_corners=False).numpy()


def _sides_swapped(structures: Sequence[Structure]) -> list[int] | None:
    """For each class the one on the other side; None where some have none."""
    other = {"right": "left", "left": "right"}
    numbers = {structure.name: structure.value for structure in structures}
    order = [0]
    for structure in sorted(structures, key=lambda structure: structure.value):
        side, _, rest = structure.name.partition("_")
        number = numbers.get(f"{other.get(side, '')}_{rest}")
        if number is None:
            return None
        order.append(number)
    return order
