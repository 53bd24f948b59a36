"""What is not the patient: the table below, pillow, blanket, electrodes, lines and implants."""

from __future__ import annotations

import numpy as np

from datastore.phantom.patient import Patient

FOAM_HU, SHELL_HU = -930.0, -120.0


def table_hu(patient: Patient, y_mm: np.ndarray, x_mm: np.ndarray, back_mm: float) -> np.ndarray:
    """(y, x) float32 Hounsfield units of the empty table.

    Args:
        patient: Kind of table, posture, pillow.
        y_mm: (y,) positions.
        x_mm: (x,) positions.
        back_mm: y of the lowest skin.
    """
    hu = np.full((len(y_mm), len(x_mm)), -1000.0, np.float32)
    if patient.table == "none":
        return hu
    random = np.random.default_rng([patient.seed, 4])
    down = 1.0 if patient.posture == "supine" else -1.0
    voxel = max(float(y_mm[1] - y_mm[0]), 0.6) if len(y_mm) > 1 else 1.0
    x = x_mm[None, :] - random.normal(0, 12)
    curve, thick, half = {
        "foam": (random.uniform(1100, 1600), random.uniform(25, 45), 215.0),
        "trough": (random.uniform(420, 600), random.uniform(14, 24), 225.0),
        "cradle": (random.uniform(340, 430), random.uniform(60, 80), 230.0),
        "flat": (1e6, random.uniform(30, 60), 235.0),
    }[patient.table]
    below = down * (y_mm[:, None] - back_mm) - patient.table_gap_mm - 6 + x * x / (2 * curve)

    def layer(distance: np.ndarray, value: float) -> None:
        share = np.clip(0.5 - distance / voxel, 0, 1)
        hu[...] += share * (value - hu)

    inside = np.maximum(np.maximum(-below, below - thick), np.abs(x) - half)
    if patient.table == "cradle":
        slant = np.abs(x) * random.uniform(0.5, 0.75) + below - thick * 1.9
        inside = np.maximum(np.maximum(-below, slant * 0.85), np.abs(x) - half)
    shell = random.uniform(0.7, 1.6)
    layer(inside, SHELL_HU + random.uniform(-100, 250))
    layer(
        inside + shell, FOAM_HU + random.uniform(-40, 30) if patient.table != "trough" else random.uniform(-995, -900)
    )
    mattress = random.uniform(0, 1) < 0.6
    if mattress:
        pad = np.maximum(np.maximum(below, -below - random.uniform(5, 16)), np.abs(x) - 0.9 * half)
        layer(pad, random.uniform(-975, -900))
        layer(np.abs(pad) - 0.4, random.uniform(-900, -600))
    if random.uniform() < 0.5:
        beam = np.maximum(
            np.abs(below - thick - random.uniform(10, 40)) - random.uniform(2, 6), np.abs(np.abs(x) - 26) - 18
        )
        layer(beam, random.uniform(100, 1500))
    if patient.pillow:
        wedge = np.maximum(
            np.abs(below + 10) - 16 - random.uniform(0, 10), np.abs(x - random.normal(0, 30)) - random.uniform(110, 190)
        )
        layer(wedge, random.uniform(-985, -940))
        layer(np.abs(wedge) - 0.4, -850.0)
    return hu
