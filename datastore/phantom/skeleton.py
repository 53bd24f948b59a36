"""Bones: vertebral column, ribs, sternum, shoulder girdle, arms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.body import Trunk, shoulder
from datastore.phantom.implicit import Point, ellipsoid, smooth_min
from datastore.phantom.patient import Patient
from datastore.phantom.space import Box, Solid, Space

# Lowest and highest vertebra of the column, heights of a vertebra with its disc at the ends and their middle.
FIRST_THORACIC_MM = 101.0
LEVELS = 24 + 4
# Compact bone in mm: thin about vertebral bodies, thick in their arches and in long bones.
BODY_MM, ARCH_MM, RIB_MM, STERNUM_MM, BLADE_MM, SHAFT_MM, HEAD_MM = 0.45, 1.5, 0.9, 0.7, 1.3, 2.2, 0.6


class Bones(Solid):
    """Bones with how thick the compact bone about their marrow is.

    Attributes:
        marrow_hu: (z, y, x) float32 Hounsfield units of the marrow of the nearest bone; the same as `hu`.
        compact_mm: (z, y, x) float32 compact bone of the nearest bone.
        shell_mm: Compact bone of what is added next.
    """

    def __init__(self, space: Space, marrow_hu: float) -> None:
        super().__init__(space, marrow_hu)
        self.marrow_hu = np.full(space.shape, marrow_hu, np.float32)
        self.hu = self.marrow_hu
        self.compact_mm = np.full(space.shape, BODY_MM, np.float32)
        self.shell_mm = BODY_MM

    def add(self, box: Box, sdf: np.ndarray, hu: float | np.ndarray | None = None, *, over: bool = False) -> None:
        """Join a bone whose marrow has a value and whose compact bone is `shell_mm` thick."""
        np.copyto(self.compact_mm[box], self.shell_mm, where=sdf < self.sdf[box])
        super().add(box, sdf, hu, over=over)


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Bones as signed distances in mm of the reference anatomy.

    Attributes:
        bone: All bones with their marrow and compact bone.
        disc: Discs between the vertebrae and the cord in its canal, with their Hounsfield units.
        cartilage: Front ends of the ribs.
        column: (z, y, x) distance to the vertebral column with what lies about it.
    """

    bone: Bones
    disc: Solid
    cartilage: Solid
    column: np.ndarray


def vertebra_heights() -> np.ndarray:
    """Middle heights of the vertebrae from the top: seven cervical, twelve thoracic, five lumbar, four sacral.

    Thoracic vertebrae with disc grow from 19 to 28 mm, lumbar ones from 34 to 37 mm (Panjabi et al., Spine 1991, 1992).
    """
    heights = np.concatenate([np.full(7, 17.5), np.linspace(19, 28, 12), np.linspace(33, 36, 5), np.full(4, 28.0)])
    middle = -(np.cumsum(heights) - heights / 2)
    return middle - middle[7] + FIRST_THORACIC_MM - 10


def make_skeleton(space: Space, patient: Patient, trunk: Trunk) -> Skeleton:
    """Shape a patient's bones."""
    bone, disc, cartilage = Bones(space, patient.bone_hu), Solid(space, 70.0), Solid(space)
    column = _add_column(bone, disc, space, patient, trunk)
    _add_ribs(bone, cartilage, space, patient, trunk)
    _add_sternum(bone, space, patient, trunk)
    for side in (0, 1):
        _add_girdle(bone, space, patient, trunk, side)
    return Skeleton(bone, disc, cartilage, column)


def _levels(z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offset in mm from the nearest vertebra's middle, its height in mm and its number from the first cervical."""
    middles = vertebra_heights()
    edges = -np.concatenate([[middles[0] + 9], (middles[1:] + middles[:-1]) / 2, [middles[-1] - 14]])
    number = np.clip(np.searchsorted(edges, -z.ravel()) - 1, 0, LEVELS - 1).reshape(z.shape)
    heights = np.diff(edges).astype(np.float32)
    return z - middles[number].astype(np.float32), heights[number], number


def _add_column(bone: Bones, disc: Solid, space: Space, patient: Patient, trunk: Trunk) -> np.ndarray:
    box = space.box((-440, -75, -62), (238, 130, 62))
    z, y, x = space.at(box)
    behind = trunk.depth_behind_spine[box]
    offset, height, number = _levels(z)
    down = np.clip((200 - z) / 500, 0, 1)
    half_width, half_depth = 10.5 + 15 * down, 8 + 10.5 * down
    waist = 1 - 1.6 * np.cos(np.pi * offset / height) ** 2 / half_depth
    a, b = x / (half_width * waist), (behind - half_depth) / (half_depth * waist)
    body = (np.sqrt(np.sqrt((a * a + b * b) ** 2 * 0.8 + 0.2 * (a**4 + b**4))) - 1) * half_depth
    gap = 2.0 + 2.2 * down * (0.6 if patient.age_years > 70 else 1.0)
    end = np.abs(offset) - (height / 2 - gap)
    back = 2 * half_depth
    canal = np.sqrt((x * 0.85) ** 2 + (behind - back - 8) ** 2) - 8
    ring = np.maximum(np.abs(canal - 2.0) - 2.1, np.abs(offset + 3) - 0.36 * height)
    ring = np.maximum(ring, behind - back - 22)
    slope = offset + 0.55 * (behind - back - 16)
    spinous = np.maximum(
        np.maximum(np.abs(x) - 3.0, np.abs(slope + 4) - 0.27 * height),
        np.maximum(back + 14 - behind, behind - back - 40 - 8 * down),
    )
    reach = np.where(z > 105, 22.0, np.where(z < -195, 40.0, 33.0 - 10 * np.clip((-60 - z) / 120, 0, 1)))
    transverse = np.maximum(np.abs(offset - 3) - 5, np.abs(behind - back - 8 - 0.30 * np.abs(x)) - 4.5)
    transverse = np.maximum(np.maximum(transverse, np.abs(x) - reach), 11 - np.abs(x))
    facets = ellipsoid(offset - 0.45 * height * np.sign(offset), behind - back - 12, np.abs(x), (0, 0, 15), (6, 6, 6))
    arch = np.minimum(np.minimum(ring, spinous), np.minimum(transverse, facets))
    sacrum = number >= 24
    wedge = np.maximum(np.maximum(np.abs(behind - 8) - 13, np.abs(x) - 48 - 0.25 * (z + 330)), -400 - z)
    vertebra = np.where(sacrum, wedge, np.maximum(body, end))
    # Denser towards the end plates, less dense about the basivertebral vein, each vertebra a little different.
    differ = np.random.default_rng([patient.seed, 13]).normal(0, 0.07, LEVELS).astype(np.float32)
    vein = np.exp(-((offset / 3.5) ** 2) - ((behind - 1.5 * half_depth) / (0.5 * half_depth)) ** 2)
    share = 0.88 + differ[number] + 0.2 * (2 * offset / height) ** 2 - 0.45 * vein + 0.08 * space.ripple[1][box]
    bone.add(box, vertebra.astype(np.float32), (patient.bone_hu * share).astype(np.float32))
    bone.shell_mm = ARCH_MM
    bone.add(box, np.where(sacrum, 60, arch).astype(np.float32), 1.2 * patient.bone_hu + 60)
    full = np.full(space.shape, 60, np.float32)
    # Heads and necks of the ribs and the muscles between them widen the column towards the back.
    gutter = np.maximum(0.85 * (np.abs(x) - 16 - 0.45 * np.maximum(behind - back - 3, 0)), back - 2 - behind)
    disc.add(box, np.maximum(gutter + 2.5, behind - back - 40).astype(np.float32), 50.0)
    disc.add(box, np.where(sacrum, 60, np.maximum(body, -end)).astype(np.float32), 85.0, over=True)
    disc.add(box, canal + 1.0, 28.0, over=True)
    full[box] = np.minimum(smooth_min(body, gutter, 10) - 2.2, 60)
    return full


def _add_ribs(bone: Bones, cartilage: Solid, space: Space, patient: Patient, trunk: Trunk) -> None:
    """All ribs at once: the height above each rib's course is periodic along the chest."""
    box = space.box((-245, -140, -160), (118, 75, 160))
    z, outside, angle = space.z[box], trunk.cavity[box], trunk.angle[box]
    round_ = np.clip(angle / np.pi, 0, 1)
    middles = vertebra_heights()[7:19]
    high = np.clip((z + 20) / 110, 0, 1)
    # A rib falls towards its front end, where its cartilage rises to the sternum.
    fall = (138 - 72 * high) * np.sin(np.clip((round_ - 0.04) / 0.7, 0, 1) * (np.pi / 2))
    fall -= (1 - high) * 62 * np.clip(round_ - 0.74, 0, 1) ** 1.5 / 0.26**1.5
    course = z + fall + 1.5 * space.ripple[0][box]
    edges = -np.concatenate([[middles[0] + 12], (middles[1:] + middles[:-1]) / 2, [middles[-1] - 14]])
    number = np.searchsorted(edges, -course.ravel()).reshape(course.shape) - 1
    known = (number >= 0) & (number < 12)
    number = np.clip(number, 0, 11)
    offset = course - middles[number].astype(np.float32)
    tall = np.where(number == 0, 6.5, 6.0) / np.sqrt(1 + 0.25 * np.sin(angle) ** 2)
    depth = outside - 4.6
    rib = (np.sqrt((offset / tall) ** 2 + (depth / 3.4) ** 2) - 1) * 3.6
    ends = np.array([0.93, 0.8, 0.79, 0.79, 0.79, 0.78, 0.77, 0.74, 0.7, 0.66, 0.5, 0.3], np.float32)[number]
    here = known & (angle > 0.2)
    span = (round_ - ends) * 120
    bone.shell_mm = RIB_MM
    marrow = patient.bone_hu * (0.75 + 0.15 * space.ripple[1][box])
    bone.add(box, np.where(here, np.maximum(rib, span), 60).astype(np.float32), marrow)
    gristle = np.where(here & (number < 10), np.maximum(np.maximum(rib, -span), 12 - np.abs(space.x[box])), 60)
    cartilage.add(box, gristle.astype(np.float32))


def _add_sternum(bone: Bones, space: Space, patient: Patient, trunk: Trunk) -> None:
    box = space.box((-115, -140, -45), (66, -30, 45))
    z, x = space.z[box], space.x[box]
    half = np.where(z > 12, 17 + 0.26 * (z - 12), 17 - 3 * np.cos((z + 45) / 16) * 0.4) - np.clip((-78 - z) / 6, 0, 4)
    across, thick = (
        np.maximum(np.abs(x) - half + 5, 0),
        np.maximum(np.abs(trunk.cavity[box] - 7 + 0.004 * x * x) - 1.2, 0),
    )
    plate = np.hypot(across, thick) - 4.6
    plate = np.maximum(np.maximum(plate, np.abs(z + 25) - 84), 60 * (2.4 - trunk.angle[box]))
    bone.shell_mm = STERNUM_MM
    marrow = patient.bone_hu * (0.55 + 0.12 * space.ripple[1][box])
    bone.add(box, np.maximum(plate, 1.0 - np.abs(z - 11)).astype(np.float32), marrow)


def _add_girdle(bone: Bones, space: Space, patient: Patient, trunk: Trunk, side: int) -> None:
    """Scapula, clavicle and arm of one side."""
    sign = 2 * side - 1
    up = patient.arms[side] == "up"
    joint, elbow, hand = shoulder(patient, side)
    inner = (joint[0] - 4, joint[1] + 5, joint[2] - sign * 22)

    def signed(points: tuple[Point, ...]) -> list[Point]:
        return [(z, y, sign * x) for z, y, x in points]

    bone.shell_mm = SHAFT_MM
    bone.add_tube(
        [*signed(((56, -66, 20), (66, -76, 52), (88, -46, 100))), (joint[0] + 18, joint[1] - 6, joint[2] - sign * 16)],
        (7.5, 5.5, 5.5, 6),
        0.8 * patient.bone_hu,
    )
    top, tip, socket = ((92, 62), (-38, 112), (96, 128)) if up else ((82, 62), (-68, 84), (64, 138))
    box = space.box((-80, -30, -175 if sign < 0 else 45), (120, 90, -45 if sign < 0 else 175))
    z, x, outside = space.z[box], sign * space.x[box], trunk.cavity[box]
    corners = (top, socket, tip)
    inside = np.full(z.shape, -60, np.float32)
    for (z0, x0), (z1, x1) in zip(corners, (*corners[1:], corners[0]), strict=True):
        length = float(np.hypot(z1 - z0, x1 - x0))
        inside = np.maximum(inside, ((z - z0) * (x1 - x0) - (x - x0) * (z1 - z0)) / length)
    away = outside - 19 - 0.13 * (x - 80) - 0.05 * (z - 20)
    blade = np.maximum(np.abs(away) - 1.9 - 0.02 * np.clip(x - 80, 0, 60), inside - 3)
    rim = np.sqrt(away**2 + np.minimum(np.abs(inside), 60) ** 2) - 4.2
    blade = np.minimum(blade, np.where(x > 95, rim, 60))
    blade = np.where(trunk.angle[box] < 2.0, blade, 60)
    bone.shell_mm = BLADE_MM
    bone.add(box, blade.astype(np.float32), 0.8 * patient.bone_hu)
    ridge = signed(((46, 68, 76), (66, 62, 112), (84, 34, 150), (92, 12, 168)))
    if up:
        ridge = [(z + 18, y - 4, x - sign * 12) for z, y, x in ridge]
    bone.add_tube(ridge, (3.5, 5, 6, 5), 0.9 * patient.bone_hu)
    bone.add_tube((inner, (inner[0] - 6, inner[1] + 6, inner[2] - sign * 14)), (13, 8), 1.1 * patient.bone_hu)
    bone.shell_mm = SHAFT_MM
    bone.add_tube((joint, elbow), (14, 12), 0.2 * patient.bone_hu)
    bone.add_tube((elbow, hand), (10, 8), 0.2 * patient.bone_hu)
    bone.shell_mm = HEAD_MM
    bone.add_tube((joint, joint), (23, 23), 0.9 * patient.bone_hu)
