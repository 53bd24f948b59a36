"""The trunk: the inner wall of chest and belly, the muscles on it, fat and skin."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.interpolate import PchipInterpolator

from datastore.phantom.implicit import Point, ellipsoid, smooth_min, true_distance
from datastore.phantom.patient import Patient
from datastore.phantom.space import Solid, Space

# Height, half width, front and back of the inner wall in mm, of a man of 172 cm breathed in.
WALL = np.array(
    [
        (-540, 118, -88, 40),
        (-440, 126, -100, 42),
        (-340, 127, -112, 34),
        (-260, 124, -120, 32),
        (-200, 130, -130, 50),
        (-150, 136, -134, 58),
        (-100, 139, -131, 63),
        (-50, 138, -121, 66),
        (0, 130, -105, 65),
        (40, 114, -88, 57),
        (70, 96, -72, 45),
        (95, 76, -60, 30),
        (121, 60, -52, 24),
        (160, 50, -48, 20),
        (460, 50, -48, 20),
    ],
    float,
)
SPINE = np.array(
    [
        (-540, 30), (-440, 22), (-380, -4), (-300, -26), (-260, -27), (-200, -20), (-150, -12), (-70, 2), (0, 0),
        (60, -14), (100, -30), (150, -44), (220, -46), (260, -40), (460, -40),
    ],
    float,
)  # fmt: skip


@lru_cache(maxsize=8)
def _table(name: str) -> tuple[np.ndarray, np.ndarray]:
    columns = {"width": (WALL, 1), "front": (WALL, 2), "back": (WALL, 3), "spine": (SPINE, 1)}
    data, column = columns[name]
    fine = np.arange(-540, 461, 2.0)
    return fine, PchipInterpolator(data[:, 0], data[:, column])(fine).astype(np.float32)


def profile(name: str, z: np.ndarray) -> np.ndarray:
    """A measure of the trunk ("width", "front", "back", "spine") at heights of the reference anatomy."""
    heights, values = _table(name)
    return np.interp(z, heights, values).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Trunk:
    """Where chest wall and skin are; distances in mm of the reference anatomy.

    Attributes:
        cavity: (z, y, x) to the inner wall of chest and belly, negative inside.
        angle: (z, y, x) about the trunk's axis: 0 at the back, pi at the front, in radians.
        depth_behind_spine: (z, y, x) y counted from the front of the vertebral column.
        muscle: To the muscles with all they enclose.
        skin: To the skin.
    """

    cavity: np.ndarray
    angle: np.ndarray
    depth_behind_spine: np.ndarray
    muscle: Solid
    skin: Solid


def shoulder(patient: Patient, side: int) -> tuple[Point, Point, Point]:
    """Where shoulder joint, elbow and hand are. Side is 0 for right, 1 for left; x comes signed."""
    places: dict[str, tuple[Point, Point, Point]] = {
        "up": ((104, 0, 150), (318, -5, 178), (420, -40, 60)),
        "down": ((70, 4, 164), (-225, 18, 208), (-450, -40, 205)),
        "aside": ((84, 4, 172), (40, 0, 430), (40, 0, 660)),
    }
    sign = 2 * side - 1
    joint, elbow, hand = ((z, y, sign * x) for z, y, x in places[patient.arms[side]])
    return joint, elbow, hand


def make_trunk(space: Space, patient: Patient) -> Trunk:
    """Shape the wall of chest and belly, muscles and skin of a patient."""
    z, y, x = space.z, space.y, space.x
    cavity, angle = _cavity(space, patient)
    long, short = space.ripple
    belly = np.clip((-90 - z) / 110, 0, 1)
    chest = np.exp(-(((z - 30) / 70) ** 2))
    sine = np.sin(angle)
    # The erectors of the spine lie broad on both sides of a furrow over the spinous processes.
    thick = 11.5 + 25 * np.exp(-((angle / 0.72) ** 4)) - 8 * np.exp(-((x / 10) ** 2)) * (angle < 1)
    thick += (
        chest
        * patient.muscle
        * (22 * np.exp(-(((angle - 1.0) / 0.55) ** 2)) + 13 * np.exp(-(((angle - 2.35) / 0.4) ** 2)))
    )
    thick += belly * (7 * sine * patient.muscle - 2) + 26 * np.clip((-330 - z) / 60, 0, 1) * np.exp(
        -((angle / 1.1) ** 2)
    )
    muscle = Solid(space)
    trunk = cavity - thick * (0.75 + 0.25 * patient.muscle) - 1.2 * long
    neck = Solid(space)
    neck.add_tube(((88, -20, 0), (150, -34, 0), (232, -34, 0)), (60, 55, 56))
    trunk = smooth_min(trunk, neck.sdf, 26)
    limbs, arms = Solid(space), Solid(space)
    bulk = 0.86 + 0.14 * patient.muscle
    for side in (0, 1):
        joint, elbow, hand = shoulder(patient, side)
        sign = 2 * side - 1
        limbs.add_tube(((108, 4, sign * 38), joint), (34, 38 * bulk))
        limbs.add_tube(((48, -52, sign * 84), joint), (24, 30 * bulk))
        limbs.add_tube(((-5, 42, sign * 108), joint), (22, 32 * bulk))
        limbs.add_tube((joint, joint), (42 * bulk, 42 * bulk))
        arms.add_tube((joint, elbow, hand), (42 * bulk, 36 * bulk, 24))
    _add_head(neck)
    trunk = np.minimum(trunk, neck.sdf)
    girdle = smooth_min(trunk, limbs.sdf, 24)
    muscle.sdf = smooth_min(girdle, arms.sdf, 5).astype(np.float32)
    fat = patient.fat_mm * (
        (1 - belly) * (0.52 + 0.28 * sine)
        + belly * (0.62 + 0.45 * sine + 0.35 * (angle > 2.0) * np.clip(angle - 2.0, 0, 1))
    )
    fat = 2.5 + fat * (1 + 0.13 * long + 0.05 * short) * np.clip(1.2 - np.clip(z - 60, 0, 100) / 160, 0.35, 1)
    skin = Solid(space)
    skin.sdf = (muscle.sdf - fat).astype(np.float32)
    if patient.breast_mm > 0:
        _add_breasts(skin, muscle, patient, fat)
    _flatten(skin, muscle, space, patient)
    return Trunk(cavity, angle, y - profile("spine", z), muscle, skin)


def _cavity(space: Space, patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the inner wall and the angle about the trunk's axis."""
    z = space.z
    width = profile("width", z) * (1 + 0.10 * np.clip((-100 - z) / 120, 0, 1) * min(patient.visceral_fat, 1.0))
    upper, lower, deep, square = patient.form
    width *= lower + (upper - lower) * np.clip((z + 60) / 130, 0, 1)
    front, back = profile("front", z), profile("back", z)
    front = front * (1 + (deep - 1) * np.clip((60 - z) / 90, 0, 1))
    front = front * (1 + 0.36 * np.clip((-120 - z) / 100, 0, 1) * patient.visceral_fat)
    a = np.abs(space.x) / width
    b = (space.y - (front + back) / 2) / ((back - front) / 2)
    a2, b2 = a * a, b * b
    round_, boxy = np.sqrt(a2 + b2), np.sqrt(np.sqrt(a2 * a2 + b2 * b2))
    share = 0.3 + 0.18 * square
    field = (1 - share) * round_ + share * boxy
    cavity = true_distance((field - 1.0) * np.minimum(width, (back - front) / 2), space.step)
    apex = ellipsoid(np.maximum(z, 58), space.y, space.x, (58, -14, 0), (63, 62, 106))
    cavity = np.maximum(np.maximum(cavity, apex - np.maximum(58 - z, 0)), z - 121)
    return cavity + 1.3 * space.ripple[0] + 0.35 * space.ripple[1], np.arctan2(a, b)


def _flatten(skin: Solid, muscle: Solid, space: Space, patient: Patient) -> None:
    """Flatten the side that lies on the table."""
    if patient.posture == "supine":
        table = space.down - (86 + 0.5 * patient.fat_mm + 8 * patient.muscle)
    else:
        table = -space.down - (142 * patient.form[2] + 0.5 * patient.fat_mm)
    skin.sdf = -smooth_min(-skin.sdf, -table, 14)
    muscle.sdf = np.maximum(muscle.sdf, table + 4 + 0.15 * patient.fat_mm).astype(np.float32)


def _add_head(flesh: Solid) -> None:
    space = flesh.space
    if float(space.z.max()) < 170:
        return
    everywhere = (slice(None), slice(None), slice(None))
    head = ellipsoid(space.z, space.y, space.x, (305, -32, 0), (92, 98, 77))
    face = ellipsoid(space.z, space.y, space.x, (240, -84, 0), (56, 48, 58))
    flesh.add(everywhere, smooth_min(head, face, 20))


def _add_breasts(skin: Solid, muscle: Solid, patient: Patient, fat: np.ndarray) -> None:
    space, radius = skin.space, patient.breast_mm
    prone = patient.posture == "prone"
    for sign in (-1, 1):
        front = float(profile("front", np.array(-58.0))) - (14 if prone else 6)
        centre = (-58.0 - 0.25 * radius, front, sign * (70 + 0.38 * radius))
        radii = (0.95 * radius, 0.62 * radius * (0.7 if prone else 1), 1.05 * radius)
        box = space.box([c - 1.3 * radius for c in centre], [c + 1.3 * radius for c in centre])
        breast = ellipsoid(*space.at(box), centre, radii) + 1.5 * space.ripple[0][box]
        skin.sdf[box] = smooth_min(skin.sdf[box], breast, 22)
        gland = ellipsoid(
            *space.at(box),
            (centre[0], centre[1] - 0.2 * radius, centre[2]),
            (0.72 * radii[0], 0.72 * radii[1], 0.72 * radii[2]),
        )
        strands = 7.0 * space.ripple[1][box] + 9.0 * (0.6 - patient.gland)
        muscle.add(box, np.maximum(gland, strands))
