"""What of the patient is in the picture, and what stands where nothing was reconstructed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FieldOfView:
    """The reconstructed part of an axial slice.

    Attributes:
        circle: Diameter of the reconstructed circle over the smaller side of the slice; None where the whole
            square is reconstructed.
        centre: (y, x) shift of the circle over the smaller side of the slice.
        margins: (anterior, posterior, right, left) shares of the slice that are cut off.
        padding_hu: What stands outside; many scanners write -1024, -2000 or -3024.
        rim_hu: Brightness that a body which leaves the circle has at the circle's edge, since its outside
            was not measured; 0 without.
    """

    circle: float | None
    centre: tuple[float, float]
    margins: tuple[float, float, float, float]
    padding_hu: int
    rim_hu: float


def draw_field_of_view(random: np.random.Generator) -> FieldOfView:
    """Draw a field of view: a full square, the circle inside it, or a smaller circle that cuts the body."""
    circle = float(random.choice([0.0, 1.0, random.uniform(0.72, 0.98)], p=[0.55, 0.35, 0.1]))
    shift = random.uniform(-0.04, 0.04, 2)
    cut = random.random() < 0.05
    anterior, posterior, right, left = random.uniform(0.0, 0.12, 4) * (random.random(4) < 0.6) * cut
    return FieldOfView(
        circle=circle or None,
        centre=(float(shift[0]), float(shift[1])) if 0 < circle < 1 else (0.0, 0.0),
        margins=(float(anterior), float(posterior), float(right), float(left)),
        padding_hu=int(random.choice([-1024, -2000, -3024, -1000], p=[0.5, 0.22, 0.2, 0.08])),
        rim_hu=random.uniform(40, 250) if random.random() < 0.3 else 0.0,
    )


def outside(shape: tuple[int, int], view: FieldOfView) -> np.ndarray | None:
    """Where nothing was reconstructed: (y, x) bool; None where that is nowhere.

    Args:
        shape: (y, x) of a slice.
        view: The field of view.
    """
    missing = np.zeros(shape, bool)
    if view.circle is not None:
        missing |= _radius(shape, view) > 1.0
    anterior, posterior, right, left = view.margins
    height, width = shape
    missing[: int(anterior * height)] = True
    missing[height - int(posterior * height) :] = True
    missing[:, : int(right * width)] = True
    missing[:, width - int(left * width) :] = True
    return missing if missing.any() else None


def rim(shape: tuple[int, int], view: FieldOfView) -> np.ndarray | None:
    """Brightness of a body at the edge of the circle: (y, x) float32 HU for water there; None for none."""
    if view.circle is None or not view.rim_hu:
        return None
    depth = np.clip(1.0 - _radius(shape, view), 0, None)
    return (view.rim_hu * np.exp(-depth / 0.04)).astype(np.float32)


def _radius(shape: tuple[int, int], view: FieldOfView) -> np.ndarray:
    """Distance from the circle's centre over its radius."""
    smaller = min(shape)
    circle = 1.0 if view.circle is None else view.circle
    y, x = (
        (np.arange(count) - (count - 1) / 2 - shift * smaller) / (circle * smaller / 2)
        for count, shift in zip(shape, view.centre, strict=True)
    )
    distance: np.ndarray = np.sqrt(y[:, None] ** 2 + x[None, :] ** 2)
    return distance
