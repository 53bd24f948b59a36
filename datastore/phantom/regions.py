"""Beyond the chest: skull, brain, sinuses and throat above, pelvis and hips below."""

from __future__ import annotations

import numpy as np

from datastore.phantom.implicit import ellipsoid
from datastore.phantom.patient import Patient
from datastore.phantom.skeleton import ARCH_MM, Bones
from datastore.phantom.space import Solid, Space

BRAIN_HU, TOOTH_HU = 35.0, 1500.0
WHOLE = (slice(None), slice(None), slice(None))


def add_head(soft: Solid, bone: Bones, gas: Solid, space: Space, patient: Patient) -> None:
    """Join skull, brain, jaws, sinuses and throat to a patient whose head is in view.

    Args:
        soft: Gets the brain.
        bone: Gets skull and jaws.
        gas: Gets sinuses, nose, mouth and throat.
        space: The coarse grid.
        patient: Seed and bone density.
    """
    if float(space.z.max()) < 160:
        return
    random = np.random.default_rng([patient.seed, 7])
    z, y, x = space.z, space.y, space.x
    vault = ellipsoid(z, y, x, (303, -30, 0), (84, 89, 69)) + 1.5 * space.ripple[0]
    bone.shell_mm = ARCH_MM
    base = 232 + 0.25 * (-y - 30)
    bone.add(WHOLE, np.maximum(np.abs(vault + 3.2) - 3.2, base - z), 400.0)
    bone.add(WHOLE, np.maximum(np.maximum(vault + 2, np.abs(z - base) - 3), 12 - np.hypot(y + 30, x)), 400.0)
    soft.add(WHOLE, np.maximum(vault + 6.5, base + 4 - z), BRAIN_HU, over=True)
    for sign in (-1, 1):
        bone.add_tube(
            ((252, -44, sign * 50), (222, -62, sign * 47), (206, -112, sign * 20), (205, -118, 0)), (6, 7, 7, 7), 500.0
        )
        bone.add_tube(((230, -96, sign * 24), (228, -118, sign * 12), (228, -122, 0)), (6, 6, 6), TOOTH_HU)
        bone.add_tube(((262, -100, sign * 42), (262, -60, sign * 66)), (4, 3), 400.0)
        for centre, radii in (
            ((252, -96, sign * 27), (17, 16, 13)),
            ((300, -112, sign * 11), (10, 5, 10)),
            ((272, -88, sign * 9), (12, 18, 5)),
            ((268, -58, sign * 7), (8, 10, 7)),
        ):
            box = space.box([c - 20 for c in centre], [c + 20 for c in centre])
            if random.random() < 0.85 and min(part.stop - part.start for part in box) > 0:
                hole = ellipsoid(*space.at(box), centre, radii)
                bone.add(box, np.abs(hole - 1.2) - 1.0, 300.0)
                gas.add(box, hole)
        cells = ellipsoid(z, y, x, (246, -14, sign * 52), (17, 13, 11))
        bone.add(WHOLE, cells, 350.0)
        gas.add(WHOLE, np.maximum(cells + 3, 3 - 8 * np.abs(space.ripple[1])))
    wide = float(random.uniform(4, 8))
    gas.add_tube(
        ((174, -72, 0), (190, -70, 0), (215, -64, 0), (250, -60, 0), (254, -100, 0)), (5, wide, 0.9 * wide, wide, 4)
    )
    if random.random() < 0.4:
        gas.add_tube(((222, -74, 0), (224, -112, 0)), (3, 5))


def add_pelvis(bone: Bones, space: Space, patient: Patient) -> None:
    """Join the hip bones and thighs of a patient whose pelvis is in view."""
    if float(space.z.min()) > -285:
        return
    bone.shell_mm = ARCH_MM
    x = np.abs(space.x)
    bowl = ellipsoid(space.z, space.y, x, (-398, -14, 48), (98, 78, 78))
    wing = np.maximum(np.abs(bowl) - 4 - 0.06 * np.clip(space.z + 330, 0, 30), np.maximum(-420 - space.z, 62 - x))
    bone.add(WHOLE, np.maximum(wing, space.z + 303 - 0.2 * (space.y + 80)), 0.8 * patient.bone_hu + 60)
    for sign in (-1, 1):
        bone.add_tube(((-436, -26, sign * 88), (-436, -26, sign * 88)), (25, 25), 300.0)
        bone.add_tube(((-436, -26, sign * 88), (-458, -18, sign * 132), (-560, -24, sign * 140)), (15, 17, 14), 220.0)
        bone.add_tube(((-425, -24, sign * 104), (-412, -10, sign * 84)), (14, 12), 250.0)
        bone.add_tube(((-436, -52, sign * 66), (-462, -84, sign * 8)), (9, 10), 220.0)
        bone.add_tube(((-440, 8, sign * 72), (-500, 14, sign * 56), (-480, -66, sign * 24)), (14, 12, 7), 220.0)
