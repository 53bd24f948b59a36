"""Under the diaphragm: liver, spleen, stomach, bowel, kidneys, their gas and what they hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.body import Trunk, profile
from datastore.phantom.implicit import ellipsoid, smooth_min
from datastore.phantom.mediastinum import enhancement
from datastore.phantom.patient import Patient
from datastore.phantom.space import Solid, Space


@dataclass(frozen=True, eq=False)
class Abdomen:
    """Organs with their Hounsfield units, and gas.

    Attributes:
        organs: Solid organs and hollow ones with their fluid.
        gas: Air in stomach and bowel.
        diaphragm: (z, y, x) distance to the muscle of the diaphragm in mm of the reference anatomy.
    """

    organs: Solid
    gas: Solid
    diaphragm: np.ndarray


def make_abdomen(space: Space, patient: Patient, trunk: Trunk, belly: np.ndarray) -> Abdomen:
    """Fill a patient's belly.

    Args:
        space: The coarse grid.
        patient: Sizes and contents.
        trunk: Its inner wall bounds the organs.
        belly: (z, y, x) distance to what lies under the diaphragm.
    """
    organs, gas = Solid(space, 40.0), Solid(space)
    room = np.maximum(belly, trunk.cavity) + 2.0
    diaphragm = np.maximum(np.abs(belly + 1.4) - 1.6, trunk.cavity)
    if float(space.z.min()) > -40:
        return Abdomen(organs, gas, diaphragm)
    hu = enhancement(patient)
    random = np.random.default_rng([patient.seed, 3])
    right, left = patient.dome_z_mm
    _add_bowel(organs, gas, space, patient, room, random)
    _add_solid_organs(organs, space, patient, room, hu.organs, right, left)
    _add_stomach(organs, gas, space, patient, room, left, random)
    _add_colon(organs, gas, space, patient, room, right, left, random)
    return Abdomen(organs, gas, diaphragm)


def _add_solid_organs(
    organs: Solid, space: Space, patient: Patient, room: np.ndarray, enhanced: float, right: float, left: float
) -> None:
    gain = enhanced - patient.blood_hu
    slim = 3 * patient.visceral_fat
    box = space.box((right - 175, -145, -150), (right + 25, 80, 95))
    z, y, x = space.at(box)
    lobe = ellipsoid(z + 0.15 * x, y, x, (right - 62, -36, -72), (92, 98, 78))
    lobe = smooth_min(lobe, ellipsoid(z, y, x, (right - 42, -68, 10), (46, 48, 72)), 22)
    liver = np.maximum(lobe + 2 * space.ripple[0][box], room[box] + 0.4 * slim)
    organs.add(box, liver, patient.liver_hu + 0.9 * gain, over=True)
    box = space.box((left - 135, -50, 40), (left + 20, 75, 150))
    z, y, x = space.at(box)
    spleen = ellipsoid(z, y - 0.2 * (x - 95), x, (left - 52, 24, 104), (52, 42, 27))
    organs.add(box, np.maximum(spleen + 1.5 * space.ripple[0][box], room[box] + slim), 48 + 1.1 * gain, over=True)
    for sign in (-1, 1):
        centre = (-218.0 - (8 if sign < 0 else 0), float(profile("spine", np.array(-218.0))) + 34.0, sign * 62.0)
        box = space.box([c - 65 for c in centre], [c + 65 for c in centre])
        z, y, x = space.at(box)
        lean = sign * (x - centre[2]) - 0.25 * (centre[0] - z)
        kidney = ellipsoid(z, y, lean, (centre[0], centre[1], 0), (54, 26, 27))
        sinus = ellipsoid(z, y, lean, (centre[0], centre[1] - 6, -16), (26, 12, 16)) + 2 * space.ripple[1][box]
        organs.add(box, np.maximum(kidney, -sinus), 33 + 1.9 * gain, over=True)
        organs.add_tube(
            [(-190, -14 + 12, sign * 28), (-260, -12, sign * 42), (-400, -36, sign * 78)], (9, 20, 20), 52.0
        )
    organs.add_tube(((-196, -52, 60), (-190, -66, 20), (-205, -54, -20)), (10, 11, 13), 38 + gain)
    organs.add_tube(((-400, -70, 0), (-380, -80, 0)), (36, 30), 8.0)


def _add_stomach(
    organs: Solid,
    gas: Solid,
    space: Space,
    patient: Patient,
    room: np.ndarray,
    left: float,
    random: np.random.Generator,
) -> None:
    """A bag under the left dome; gas rises to the side that is up and leaves a fluid level."""
    s = patient.stomach_scale
    shape = Solid(space)
    course = (
        (left - 34, -14, 68),
        (left - 66, -48, 68),
        (left - 108, -82, 42),
        (left - 112, -78, 0),
        (left - 100, -64, -24),
    )
    shape.add_tube(course, [s * r for r in (38, 36, 27, 20, 13)])
    bag = np.maximum(shape.sdf + 3.0 * space.ripple[0] + 1.2 * space.ripple[1], room + 1.5)
    everywhere = (slice(None), slice(None), slice(None))
    organs.add(everywhere, bag, 42.0, over=True)
    inside = bag + 3.5 + 1.2 * np.abs(space.ripple[1])
    organs.add(everywhere, inside, random.uniform(5, 35), over=True)
    up = -1.0 if patient.posture == "supine" else 1.0
    level = up * 34 * s * (1 - 2 * patient.stomach_gas) - 48 + 45 * float(space.frame.turn[2, 1])
    if patient.stomach_gas:
        gas.add(everywhere, np.maximum(inside, up * (level - space.down)))
    if patient.food:
        lumps = np.maximum(inside + 3, 7.0 * (1.5 - 0.8 * patient.food - space.ripple[1]))
        gas.add(everywhere, np.maximum(lumps, -1.0))


def _add_colon(
    organs: Solid,
    gas: Solid,
    space: Space,
    patient: Patient,
    room: np.ndarray,
    right: float,
    left: float,
    random: np.random.Generator,
) -> None:
    flexure = right - 8 if patient.colon_high else right - 118
    spleen_side = left - random.uniform(22, 70)
    course = [
        (-390, -70, -98), (-300, -40, -104), (flexure - 30, -40, -100), (flexure, -70, -88),
        (flexure - 25 - random.uniform(0, 40), -112, -45), (left - 125 - random.uniform(0, 50), -122, 0),
        (left - 105, -112, 48), (spleen_side - 18, -80, 92), (spleen_side - 10, -30, 108), (spleen_side - 70, 8, 108),
        (-300, 0, 108), (-390, -30, 85), (-420, -20, 20), (-440, 18, 0), (-520, 25, 0),
    ]  # fmt: skip
    radii = random.uniform(15, 27, len(course)).tolist()
    tube = Solid(space)
    tube.add_tube(course, radii)
    haustra = 3.5 * np.abs(space.ripple[1]) - 2.5
    wall = np.maximum(tube.sdf + haustra, room + 2.0)
    everywhere = (slice(None), slice(None), slice(None))
    organs.add(everywhere, wall, 38.0, over=True)
    inside = wall + 2.6
    organs.add(everywhere, inside, random.uniform(20, 70), over=True)
    height = space.down if patient.posture == "supine" else -space.down
    long, short = space.ripple
    # Gas gathers where waves say so and towards the front; stool is full of bubbles.
    lift = (height + 60) / 26
    gas.add(everywhere, np.maximum(inside, 9.0 * (0.9 * long + 0.25 * lift + 1.1 - 2.2 * patient.colon_gas)))
    gas.add(everywhere, np.maximum(np.maximum(inside + 2, 8.0 * (1.25 - short)), -1.2))


def _add_bowel(
    organs: Solid, gas: Solid, space: Space, patient: Patient, room: np.ndarray, random: np.random.Generator
) -> None:
    """Loops of the small bowel: worms between two level sets of a short-waved field."""
    long, short = space.ripple
    where = np.maximum(ellipsoid(space.z, space.y, space.x, (-335, -60, 0), (105, 62, 100)), room + 6)
    loops = np.maximum(10.0 * (np.abs(short) - 0.75 + 0.3 * patient.visceral_fat), where)
    everywhere = (slice(None), slice(None), slice(None))
    organs.add(everywhere, loops, random.uniform(25, 45))
    gas.add(everywhere, np.maximum(loops + 3.5, 10.0 * (1.3 - long + 0.015 * (space.y + 60))))
