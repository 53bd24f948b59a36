"""Which part of a patient is scanned: chest, trunk, whole body, abdomen with the lung bases, head and neck."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.patient import Patient

KINDS = ("chest", "trunk", "whole body", "abdomen with lung bases", "head and neck")


@dataclass(frozen=True)
class View:
    """A box of the patient frame to scan.

    Attributes:
        kind: One of `KINDS`.
        low_z_mm: Height of the lowest slice.
        high_z_mm: Height of the highest slice.
        centre_y_mm: Middle of the field of view.
        centre_x_mm: Middle of the field of view.
        width_mm: Side of the square field of view.
    """

    kind: str
    low_z_mm: float
    high_z_mm: float
    centre_y_mm: float
    centre_x_mm: float
    width_mm: float

    @property
    def centre_mm(self) -> tuple[float, float, float]:
        """(z, y, x) middle of the box, as `build_scene` takes it."""
        return (self.low_z_mm + self.high_z_mm) / 2, self.centre_y_mm, self.centre_x_mm

    def shape(self, spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
        """(z, y, x) voxels of a size that fill the box, at least one each.

        >>> View("chest", -200, 100, 0, 0, 384).shape((3, 0.75, 0.75))
        (101, 512, 512)
        """
        side = self.width_mm / spacing_mm[1], self.width_mm / spacing_mm[2]
        height = (self.high_z_mm - self.low_z_mm) / spacing_mm[0] + 1
        return max(1, round(height)), max(1, round(side[0])), max(1, round(side[1]))


def draw_view(random: np.random.Generator, patient: Patient, kind: str = "chest") -> View:
    """Draw the box that a technician would scan.

    Args:
        random: Source of all that varies.
        patient: Sets the size.
        kind: One of `KINDS`.

    Raises:
        ValueError: If `kind` is none of `KINDS`.
    """
    u, (size_z, size_y, size_x) = random.uniform, patient.scale
    ends = {
        "chest": (u(-255, -205), u(122, 165)),
        "trunk": (u(-520, -440), u(122, 190)),
        "whole body": (u(-520, -470), u(330, 400)),
        "abdomen with lung bases": (u(-500, -380), u(-120, -40)),
        "head and neck": (u(-20, 80), u(300, 400)),
    }
    if kind not in ends:
        raise ValueError(f"expected one of {', '.join(KINDS)}, got {kind!r}")
    low, high = ends[kind]
    body = 2 * (165 * size_x + patient.fat_mm)
    width = {"whole body": body * u(1.2, 1.5), "head and neck": u(220, 420)}.get(kind, body * u(0.93, 1.15))
    return View(
        kind,
        low * size_z,
        high * size_z,
        -32 * size_y + u(-12, 16),
        random.normal(0, 8),
        float(np.clip(width, 220, 650)),
    )
