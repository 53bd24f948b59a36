"""The build of a simple synthetic chest: sizes, places and Hounsfield units drawn from a seed, in mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Tube:
    """A straight piece of a vessel or airway.

    Attributes:
        start_mm: (z, y, x) of one end.
        end_mm: (z, y, x) of the other end.
        radius_mm: Radius of the lumen.
    """

    start_mm: Point
    end_mm: Point
    radius_mm: float


@dataclass(frozen=True)
class ChestAnatomy:
    """One synthetic chest. Millimetres from its centre; z upwards, y to posterior, x to the patient's left.

    Attributes:
        body_mm: Half the (depth, width) of the trunk.
        fat_mm: Thickness of the fat under the skin.
        cavity_mm: Half the (depth, width) of the rib cage inside.
        apex_z_mm: Height of the (right, left) lung's apex.
        dome_z_mm: Height of the (right, left) dome of the diaphragm.
        dome_depth_mm: How far the recesses reach below the dome.
        heart_mm: (z, y, x) centre of the heart.
        heart_radii_mm: (z, y, x) half axes of the heart.
        carina_mm: (z, y, x) where the trachea divides.
        stomach_gas_mm: Depth of the gas bubble in the stomach, 0 without one.
        rib_phase_mm: Height of one rib; the others follow every 26 mm.
        lung_hu: Mean of the (right, left) lung.
        blood_hu: Blood, with or without contrast medium.
        noise_hu: Standard deviation of the noise.
        airways: Trachea and main bronchi.
        vessels: Branching vessels of both lungs.
    """

    body_mm: tuple[float, float]
    fat_mm: float
    cavity_mm: tuple[float, float]
    apex_z_mm: tuple[float, float]
    dome_z_mm: tuple[float, float]
    dome_depth_mm: float
    heart_mm: Point
    heart_radii_mm: Point
    carina_mm: Point
    stomach_gas_mm: float
    rib_phase_mm: float
    lung_hu: tuple[float, float]
    blood_hu: float
    noise_hu: float
    airways: tuple[Tube, ...]
    vessels: tuple[Tube, ...]


def draw_anatomy(random: np.random.Generator) -> ChestAnatomy:
    """Draw a chest of an adult, breathed in.

    Args:
        random: Source of all that varies.
    """
    fat_mm = random.uniform(8, 22)
    depth_mm, width_mm = random.uniform(80, 95), random.uniform(118, 135)
    dome_z_mm = random.uniform(-75, -50)
    carina = (random.uniform(30, 50), random.uniform(8, 16), random.uniform(-3, 3))
    lung_hu = random.uniform(-880, -780)
    return ChestAnatomy(
        body_mm=(depth_mm + 16 + fat_mm, width_mm + 18 + fat_mm),
        fat_mm=fat_mm,
        cavity_mm=(depth_mm, width_mm),
        apex_z_mm=(random.uniform(110, 125), random.uniform(112, 128)),
        dome_z_mm=(dome_z_mm + random.uniform(8, 18), dome_z_mm),
        dome_depth_mm=random.uniform(55, 75),
        heart_mm=(dome_z_mm + random.uniform(40, 50), random.uniform(-32, -24), random.uniform(18, 30)),
        heart_radii_mm=(random.uniform(50, 58), random.uniform(38, 46), random.uniform(48, 58)),
        carina_mm=carina,
        stomach_gas_mm=random.uniform(15, 30) if random.random() < 0.6 else 0.0,
        rib_phase_mm=random.uniform(0, 26),
        lung_hu=(lung_hu, lung_hu + random.uniform(-10, 10)),
        blood_hu=random.uniform(35, 45) if random.random() < 0.5 else random.uniform(120, 250),
        noise_hu=random.uniform(8, 35),
        airways=_airways(carina, random),
        vessels=_vessels(carina, random),
    )


def _airways(carina: Point, random: np.random.Generator) -> tuple[Tube, ...]:
    z, y, x = carina
    trachea = Tube((z, y, x), (z + 160.0, y - 18.0, 0.0), random.uniform(7.5, 9.5))
    right = Tube((z, y, x), (z - 24.0, y + 4.0, x - 32.0), random.uniform(6.0, 7.0))
    left = Tube((z, y, x), (z - 22.0, y + 6.0, x + 42.0), random.uniform(5.5, 6.5))
    return trachea, right, left


def _vessels(carina: Point, random: np.random.Generator) -> tuple[Tube, ...]:
    """Arteries from each hilum towards the pleura, thinner at each of three generations."""
    tubes: list[Tube] = []
    for sign in (-1.0, 1.0):
        hilum = np.array([carina[0] - 30.0, carina[1] + 4.0, sign * 38.0])
        for _ in range(7):
            up, back, outwards = random.normal(0, 1.0), random.normal(0, 0.8), random.uniform(0.4, 1.2)
            heading = np.array([up, back, sign * outwards])
            tubes += _branches(hilum, heading, random.uniform(3.5, 5.0), 50.0, 3, random)
    return tuple(tubes)


def _branches(
    start: np.ndarray,
    heading: np.ndarray,
    radius_mm: float,
    length_mm: float,
    generations: int,
    random: np.random.Generator,
) -> list[Tube]:
    end = start + heading / np.linalg.norm(heading) * length_mm * random.uniform(0.8, 1.1)
    tubes = [Tube(_point(start), _point(end), radius_mm)]
    for _ in range(2 if generations > 1 else 0):
        turned = heading / np.linalg.norm(heading) + random.normal(0, 0.45, 3)
        tubes += _branches(end, turned, 0.65 * radius_mm, 0.7 * length_mm, generations - 1, random)
    return tubes


def _point(values: np.ndarray) -> Point:
    z, y, x = (float(value) for value in values)
    return z, y, x
