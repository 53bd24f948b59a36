"""Between the lungs: heart, great vessels, airways, oesophagus, thymus and the fat around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.body import Trunk, profile
from datastore.phantom.implicit import Point, ellipsoid, smooth_min
from datastore.phantom.patient import Patient
from datastore.phantom.space import Solid, Space


@dataclass(frozen=True)
class Enhancement:
    """Hounsfield units of blood by where it is."""

    right_heart: float
    pulmonary: float
    left_heart: float
    aorta: float
    veins: float
    cava: float
    myocardium: float
    organs: float


def enhancement(patient: Patient) -> Enhancement:
    """Blood after contrast medium: bright right heart first, then aorta, then all alike (Bae, Radiology 2010)."""
    blood, most = patient.blood_hu, patient.enhancement_hu
    shares = {
        "none": (0, 0, 0, 0, 0, 0, 0, 0),
        "pulmonary": (0.9, 1.0, 0.7, 0.55, 0.3, 1.5, 0.1, 0.05),
        "arterial": (0.6, 0.7, 0.95, 1.0, 0.3, 0.9, 0.25, 0.15),
        "venous": (0.95, 0.95, 1.0, 1.0, 0.95, 1.0, 0.55, 0.5),
    }[patient.contrast]
    return Enhancement(*(blood + share * most for share in shares))


@dataclass(frozen=True, eq=False)
class Mediastinum:
    """Solids of the mediastinum; `bulk` is what keeps the lungs out.

    Attributes:
        blood: Vessels and chambers with their Hounsfield units.
        flesh: Heart muscle, oesophagus, thymus, lymph nodes with their Hounsfield units.
        lumen: Air of trachea and main bronchi.
        gas: Air of the oesophagus.
        bulk: (z, y, x) distance to all of it with its fat, in mm of the reference anatomy.
        heart: (z, y, x) distance to the heart's surface.
        hilum: Right and left: where the lungs' vessels and bronchi start.
    """

    blood: Solid
    flesh: Solid
    lumen: Solid
    gas: Solid
    bulk: np.ndarray
    heart: np.ndarray
    hilum: tuple[Point, Point]


def make_mediastinum(space: Space, patient: Patient, trunk: Trunk) -> Mediastinum:
    """Shape a patient's mediastinum."""
    hu = enhancement(patient)
    blood, flesh, lumen, gas = Solid(space, hu.aorta), Solid(space, 40.0), Solid(space), Solid(space)
    drop = 0.55 * (sum(patient.dome_z_mm) / 2 + 100)
    heart = _add_heart(blood, flesh, space, patient, hu, drop)
    _add_arteries(blood, patient, hu)
    _add_veins(blood, hu, drop)
    shift = patient.trachea_shift_mm
    radius = patient.trachea_mm
    wind = ((-4, -27, 0), (40, -33, shift), (100, -52, 0.4 * shift), (150, -68, 0), (176, -72, 0))
    lumen.add_tube(wind, (1.02 * radius, radius, radius, 0.95 * radius, 0.75 * radius))
    lumen.add_tube(
        ((-3, -27, -2), (-18, -22, -22), (-27, -19, -36), (-48, -17, -38)),
        [share * radius for share in (0.84, 0.78, 0.66, 0.5)],
    )
    lumen.add_tube(((-3, -27, 2), (-17, -21, 22), (-28, -16, 43)), (0.78 * radius, 0.7 * radius, 0.62 * radius))
    gullet = [
        (z, float(profile("spine", np.array(float(z)))) - 10, x) for z, x in ((150, 3), (80, 6), (20, 3), (-60, 6))
    ]
    gullet += [(-120, -22, 16), (-150, -38, 26)]
    flesh.add_tube(gullet, (8, 8, 8.5, 9, 9, 9), 38.0)
    if patient.oesophagus_air_mm:
        air = patient.oesophagus_air_mm
        gas.add_tube([(z, y - 1, x) for z, y, x in gullet[1:5]], (0.6 * air, air, 0.3 * air, 0.8 * air))
    if patient.hernia_mm:
        bag = patient.hernia_mm
        flesh.add_tube(((-98 + drop, -26, 10), (-125 + drop, -28, 14)), (bag, 0.7 * bag), 30.0)
        gas.add_tube(((-92 + drop, -30, 10), (-104 + drop, -32, 12)), (0.62 * bag, 0.4 * bag))
    thymus = patient.thymus_mm
    flesh.add_tube(
        ((30, -66, 2), (-8, -84, 3)), (0.6 * thymus, 0.8 * thymus), -95.0 if patient.age_years > 40 else 25.0
    )
    bulk = _bulk(space, patient, (blood, flesh, lumen), heart, drop)
    return Mediastinum(blood, flesh, lumen, gas, bulk, heart, ((-26, -20, -42), (-24, -17, 44)))


def _add_heart(blood: Solid, flesh: Solid, space: Space, patient: Patient, hu: Enhancement, drop: float) -> np.ndarray:
    """Chambers in a muscle; returns the distance to the heart's surface."""
    size = patient.heart_scale
    base = np.array((-42.0, -80.0, 6.0))
    # The ventricles lie on the sternum of a deep chest as on that of a flat one; the left atrium stays at the spine.
    ahead_mm = 8 + 110 * (patient.form[2] - 1)

    def place(z: float, y: float, x: float) -> Point:
        y -= ahead_mm * float(np.clip((-34 - y) / 40, 0, 1))
        moved = base + size * (np.array((z + drop, y, x + patient.mediastinal_shift_mm)) - base)
        return float(moved[0]), float(moved[1]), float(moved[2])

    def radii(*values: float) -> Point:
        a, b, c = (size * value for value in values)
        return a, b, c

    whole = Solid(space)
    box = space.box((-165 + drop, -140, -75), (0 + drop, 20, 125))
    z, y, x = space.at(box)
    chambers = (
        (place(-88, -66, 40), radii(37, 38, 40), hu.left_heart, hu.myocardium, 10.0),
        (place(-96, -76, 62), radii(26, 27, 28), hu.left_heart, hu.myocardium, 9.0),
        (place(-86, -88, 10), radii(36, 25, 42), hu.right_heart, hu.myocardium, 4.0),
        (place(-55, -92, 14), radii(26, 20, 24), hu.right_heart, hu.myocardium, 4.0),
        (place(-76, -62, -22), radii(34, 30, 25), hu.right_heart, hu.myocardium, 3.0),
        (place(-84, -56, 12), radii(28, 26, 28), hu.left_heart, hu.myocardium, 6.0),
        (place(-50, -34, 6), radii(23, 20, 35), hu.left_heart, hu.myocardium, 3.0),
    )
    surface = np.full(z.shape, 60.0, np.float32)
    for centre, axes, inside, wall_hu, wall_mm in chambers:
        # A sheared ellipsoid: the heart's axis points to the left, the front and the feet.
        lean = 0.35 * (x - centre[2])
        shape = ellipsoid(z + lean, y + 0.25 * (x - centre[2]), x, centre, axes)
        surface = smooth_min(surface, shape, 9)
        flesh.add(box, shape, wall_hu)
        blood.add(box, shape + size * wall_mm, inside)
    whole.sdf[box] = np.maximum(surface, -z - 190) + 0.8 * space.ripple[0][box]
    return whole.sdf


def _add_arteries(blood: Solid, patient: Patient, hu: Enhancement) -> None:
    a, shift = patient.aorta_scale, patient.trachea_shift_mm
    arch = (
        (-48, -60, 4),
        (-15, -62, -14),
        (12, -58, -10),
        (28, -44, 4 + shift),
        (30, -24, 18 + shift),
        (14, -2, 26),
        (-10, 8, 27),
    )
    blood.add_tube(arch, [a * r for r in (17, 17, 16, 14.5, 13.5, 13, 12.5)], hu.aorta)
    down = [(z, float(profile("spine", np.array(float(z)))) + dy, x) for z, dy, x in (
        (-10, 8, 27), (-60, 4, 25), (-110, -3, 20), (-160, -10, 10), (-220, -12, 3), (-330, -12, 0),
    )]  # fmt: skip
    blood.add_tube(down, [a * r for r in (12.5, 12, 11.5, 11, 9.5, 8.5)], hu.aorta)
    blood.add_tube(
        ((30, -46, -2), (55, -50, -12), (85, -46, -26), (105, -40, -60)), (6.5 * a, 6 * a, 5 * a, 4.5), hu.aorta
    )
    blood.add_tube(((85, -46, -26), (140, -48, -26), (200, -45, -28)), (4.5, 3.8, 3.6), hu.aorta)
    blood.add_tube(((32, -38, 10), (80, -44, 22), (140, -48, 26), (200, -45, 28)), (4.5 * a, 4, 3.8, 3.6), hu.aorta)
    blood.add_tube(((30, -22, 20), (70, -26, 30), (100, -30, 48), (100, -36, 85)), (5.5 * a, 5, 5, 4.5), hu.aorta)
    blood.add_tube(((-48, -84, 14), (-22, -76, 24), (-8, -62, 28)), (15, 14.5, 13.5), hu.pulmonary)
    blood.add_tube(
        ((-8, -60, 28), (-4, -38, 40), (-8, -18, 46), (-24, -12, 50), (-54, -12, 51)),
        (12.5, 11, 9.5, 8, 5.5),
        hu.pulmonary,
    )
    right = ((-13, -56, 22), (-18, -40, 0), (-20, -36, -30), (-26, -30, -45), (-54, -16, -49))
    blood.add_tube(right, (11.5, 11, 10, 8, 5.5), hu.pulmonary)


def _add_veins(blood: Solid, hu: Enhancement, drop: float) -> None:
    blood.add_tube(((32, -58, -27), (0, -54, -28), (-50 + 0.3 * drop, -56, -26)), (8.5, 9, 9.5), hu.cava)
    blood.add_tube(((32, -58, -27), (62, -54, -32), (92, -44, -42), (84, -52, -95)), (8, 7, 6.5, 5.5), hu.cava)
    blood.add_tube(
        ((30, -60, -24), (42, -72, 0), (64, -64, 30), (92, -46, 46), (84, -52, 95)), (7, 6.5, 6.5, 6, 5), hu.cava
    )
    for sign in (-1, 1):
        blood.add_tube(((80, -48, sign * 36), (150, -48, sign * 36), (205, -44, sign * 36)), (6, 6, 5.5), hu.veins)
    low = ((-85 + drop, -48, -22), (-112 + drop, -34, -26), (-180, -40, -24), (-250, -42, -18), (-330, -40, -14))
    blood.add_tube(low, (11, 12, 12, 11, 10), hu.veins)
    spine = [(z, float(profile("spine", np.array(float(z)))) + 1, -9) for z in (-190, -100, -30, 0)]
    blood.add_tube([*spine, (10, -14, -18), (8, -36, -26)], (3, 3.5, 4, 4, 4, 4.5), hu.veins)
    for z, y, x in ((-44, -32, -46), (-66, -16, -44), (-40, -30, 48), (-64, -12, 46)):
        blood.add_tube(((-52 + 0.5 * drop, -32, 0.5 * x), (z + 0.5 * drop, y, x)), (8.5, 5.5), hu.left_heart)


def _bulk(space: Space, patient: Patient, solids: tuple[Solid, ...], heart: np.ndarray, drop: float) -> np.ndarray:
    """Distance to everything that keeps the lungs apart."""
    blood, flesh, lumen = solids
    fat = 1.5 + 4.5 * patient.visceral_fat
    bulk = smooth_min(blood.sdf - 1.5 - 0.4 * fat, flesh.sdf - 1.5 - 0.3 * fat, 8)
    bulk = smooth_min(bulk, lumen.sdf - 3.0, 8)
    bulk = smooth_min(bulk, heart - 1.5 - 0.4 * fat, 8)
    # Fat and lymph nodes fill the gaps between the great vessels, about the carina and in the hila.
    core = Solid(space)
    core.add_tube(((80, -38, 0), (34, -40, 3), (4, -42, 6), (-24, -44, 6), (-46, -32, 2)), (15, 20, 24, 26, 19))
    core.add_tube(((-46, -32, 4), (-108 + drop, -26, 10)), (17, 15))
    for sign in (-1, 1):
        core.add_tube(((-12, -26, sign * 22), (-22, -22, sign * 40)), (13, 11))
    bulk = smooth_min(bulk, core.sdf, 10)
    z, y, x = space.z, space.y, space.x
    front = profile("front", z)
    # The pleurae meet behind the sternum and keep apart by fat towards the neck and the heart.
    high = np.clip((z - 10) / 60, 0, 1)
    low = np.clip((-35 - z) / 50, 0, 1)
    ahead = np.clip((y - front) / 60, 0, 1)
    half = (
        1.6 + 0.35 * patient.thymus_mm + high * (16 + 10 * ahead) + low * (1 - ahead) * (20 + 16 * patient.visceral_fat)
    )
    septum = np.abs(x - 3 - 14 * low) - half
    bulk = smooth_min(bulk, septum, 12)
    # Fat in the angles between heart, sternum and diaphragm.
    pad = np.maximum(heart - 4 - 12 * patient.visceral_fat, z + 78)
    return smooth_min(bulk, pad, 8) + 0.5 * space.ripple[1]
