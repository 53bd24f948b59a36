"""Lines, wires, tubes and implants: drawn along polylines of the anatomy, metal marked for its streaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from datastore.phantom.body import profile, shoulder
from datastore.phantom.patient import Patient
from datastore.phantom.skeleton import vertebra_heights
from datastore.phantom.space import Solid, Space
from datastore.phantom.trees import Tree, paint, paint_hollow

STEEL_HU, TITANIUM_HU, PLASTIC_HU, CALCIUM_HU = 3000.0, 3000.0, 180.0, 550.0
Points = Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class Line:
    """A wire, tube or rod.

    Attributes:
        points: (z, y, x) mm of the reference anatomy along it.
        radius_mm: Outer radius.
        hu: Of its material.
        metal: Whether it makes streaks.
        hollow: Whether its lumen holds air.
    """

    points: Points
    radius_mm: float
    hu: float
    metal: bool = True
    hollow: bool = False


def draw_implants(
    patient: Patient, space: Space, skin: Solid, hu: np.ndarray, metal: np.ndarray, axes_mm: tuple[np.ndarray, ...]
) -> None:
    """Draw all that a patient carries into the scan.

    Args:
        patient: Its devices, leads and plaques.
        space: The coarse grid.
        skin: Where electrodes lie.
        hu: (z, y, x) float32, changed in place.
        metal: (z, y, x) bool, changed in place.
        axes_mm: (z, y, x) positions of the voxels.
    """
    z, y, x = axes_mm
    for line in [*_devices(patient), *_leads(patient, space, skin), *_plaques(patient)]:
        points = space.frame.to_world(np.array(line.points))
        pieces = len(points) - 1
        radius = np.full(pieces, line.radius_mm * (0.7 if line.hollow else 1.0))
        tree = Tree(points[:-1], points[1:], radius, radius)
        if line.hollow:
            paint_hollow(hu, None, (z, y, x), tree, 0.43, line.hu)
        else:
            paint(hu, None, (z, y, x), tree, line.hu, mask=metal if line.metal else None)


def _spine(z: float) -> float:
    return float(profile("spine", np.array(z)))


def _devices(patient: Patient) -> Iterator[Line]:
    random = np.random.default_rng([patient.seed, 8])
    sizes = random.uniform(0, 1, 12)
    fat = 0.5 * patient.fat_mm
    front = -100.0 - fat
    if "port" in patient.devices:
        yield Line(
            ((42, front + 12, -84), (36, front + 12, -88)),
            8 + 3 * sizes[0],
            STEEL_HU if sizes[0] < 0.4 else 600.0,
            sizes[0] < 0.4,
        )
        yield Line(
            ((46, front + 14, -80), (88, -66, -60), (90, -46, -42), (40, -58, -28), (-30, -56, -27)), 1.2, 350.0, False
        )
    if "pacemaker" in patient.devices:
        for shift in range(-16, 17, 4):
            yield Line(((42 + shift, front + 8, 78), (42 + shift, front + 16, 104)), 3.4, TITANIUM_HU)
        course = (
            (60, -85, 85),
            (86, -56, 92),
            (86, -50, 46),
            (52, -70, 12),
            (20, -57, -26),
            (-50, -58, -26),
            (-84, -84, 10),
            (-100, -84, 40),
        )
        yield Line(course, 1.0, STEEL_HU)
    if "chest tube" in patient.devices:
        sign = -1 if sizes[1] < 0.5 else 1
        yield Line(
            ((-40, -10, sign * 175), (-30, 0, sign * 122), (20, 20, sign * 100), (80, 8, sign * 62)),
            3.0 + 2 * sizes[2],
            300.0,
            False,
            True,
        )
    if "sternal wires" in patient.devices:
        for z in np.arange(-70, 45, 22.0) + 6 * sizes[3]:
            y = float(profile("front", np.array(z))) - 7
            ring = [(z, y - 7 * np.cos(a), 15 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 13)]
            yield Line(ring, 0.7, STEEL_HU)
    if "spine screws" in patient.devices:
        first = 12 + int(5 * sizes[4])
        for sign in (-1, 1):
            ends = []
            for z in vertebra_heights()[first : first + 4]:
                y = _spine(float(z))
                ends.append((float(z), y + 62, sign * 19.0))
                yield Line(((float(z), y + 62, sign * 19.0), (float(z), y + 14, sign * 12.0)), 2.8, TITANIUM_HU)
            yield Line(ends, 2.8, TITANIUM_HU)
    if "shoulder prosthesis" in patient.devices:
        joint, elbow, _ = shoulder(patient, int(sizes[5] < 0.5))
        stem = tuple(a + 0.3 * (b - a) for a, b in zip(joint, elbow, strict=True))
        yield Line((joint, joint), 20, STEEL_HU)
        yield Line((joint, (stem[0], stem[1], stem[2])), 6, STEEL_HU)
    gullet = [(float(z), _spine(float(z)) - 10, x) for z, x in ((200, 2), (150, 3), (80, 6), (20, 3), (-60, 6))]
    if "gastric tube" in patient.devices:
        yield Line([*gullet, (-120, -22, 16), (-150, -40, 45)], 2.2 + sizes[6], PLASTIC_HU, False, True)
    if "endotracheal tube" in patient.devices:
        yield Line(
            ((220, -66, 0), (176, -72, 0), (100, -52, 0), (45 + 20 * sizes[7], -36, 0)), 5.0, PLASTIC_HU, False, True
        )
    if "valve" in patient.devices:
        ring = [(-52 + 7 * np.sin(a), -60 + 10 * np.cos(a), 2 + 11 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 15)]
        yield Line(ring, 1.6, STEEL_HU)


def _leads(patient: Patient, space: Space, skin: Solid) -> Iterator[Line]:
    """Electrodes on the skin of the chest with their wires."""
    random = np.random.default_rng([patient.seed, 9])
    for _ in range(patient.leads):
        z, x = float(random.uniform(-130, 90)), float(random.uniform(-130, 130))
        column = space.frame.to_world(np.array([[z, -60.0, x]]))[0]
        i, k = (int(np.searchsorted(space.axes_mm[axis], column[axis])) for axis in (0, 2))
        if not (0 < i < space.shape[0] and 0 < k < space.shape[2]):
            continue
        inside = np.flatnonzero(skin.sdf[i, :, k] < 0)
        if not len(inside):
            continue
        y = float(space.y[i, inside[0], k]) - 3
        yield Line(
            ((z, y, x), (z + 1, y, x + 1)), float(random.uniform(2.5, 4.5)), float(random.choice((900.0, 2500.0)))
        )
        reach = random.uniform(60, 200)
        way = [(z + t * reach, y - 2 - 12 * np.sin(3 * t), x * (1 - 0.4 * t)) for t in np.linspace(0, 1, 5)]
        yield Line(way, 1.0, 700.0, False)


def _plaques(patient: Patient) -> Iterator[Line]:
    """Calcium in the wall of the aorta and along the coronary arteries."""
    random = np.random.default_rng([patient.seed, 10])
    radius = 13.0 * patient.aorta_scale
    for _ in range(int(26 * patient.aorta_calcium**1.5)):
        around = random.uniform(0, 2 * np.pi)
        if random.random() < 0.3:
            turn = random.uniform(0, np.pi)
            z, y, x = 26 + 6 * np.sin(turn), -34 - 24 * np.cos(turn), 8 - 10 * np.cos(turn)
            place = np.array((z + radius * np.cos(around), y, x + radius * np.sin(around)))
        elif random.random() < 0.25:
            place = np.array((random.uniform(-85, -45), -92 + random.normal(0, 6), random.uniform(5, 45)))
        else:
            z = random.uniform(-230, 0)
            x = float(np.interp(z, (-220, -160, -110, -60, -10), (3, 10, 20, 25, 27)))
            dy = float(np.interp(z, (-220, -160, -110, -60, -10), (-12, -10, -3, 4, 8)))
            place = np.array((z, _spine(z) + dy + radius * np.cos(around), x + radius * np.sin(around)))
        along = place + random.normal(0, 2.5, 3)
        yield Line(
            ((float(place[0]), float(place[1]), float(place[2])), (float(along[0]), float(along[1]), float(along[2]))),
            float(random.uniform(0.6, 1.7)),
            CALCIUM_HU + float(random.uniform(-200, 400)),
            False,
        )
