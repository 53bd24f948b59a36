"""All of a patient as signed distances on a coarse grid, ready to be painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datastore.phantom.abdomen import make_abdomen
from datastore.phantom.body import make_trunk
from datastore.phantom.lungs import Lungs, make_lungs
from datastore.phantom.mediastinum import make_mediastinum
from datastore.phantom.patient import Patient
from datastore.phantom.regions import add_head, add_pelvis
from datastore.phantom.skeleton import Bones, make_skeleton
from datastore.phantom.space import Solid, Space, make_space
from datastore.phantom.tissue import CARTILAGE_HU, DIAPHRAGM_HU, MUSCLE_HU


@dataclass(frozen=True, eq=False)
class Shapes:
    """All of a patient on a coarse grid.

    Attributes:
        space: The grid and the reference anatomy's coordinates on it.
        skin: Filled with fat where nothing else is.
        soft: Muscle, organs, heart muscle, discs with their Hounsfield units.
        blood: Chambers and vessels with their Hounsfield units.
        bone: Bones with their marrow and compact bone.
        gas: Air of gut, oesophagus, sinuses and throat.
        lumen: Air of trachea and main bronchi.
        lungs: Their surfaces and fissures.
    """

    space: Space
    skin: Solid
    soft: Solid
    blood: Solid
    bone: Bones
    gas: Solid
    lumen: Solid
    lungs: Lungs


def make_shapes(
    patient: Patient, axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray], step_mm: tuple[float, float, float]
) -> Shapes:
    """Shape all of a patient.

    Args:
        patient: Who.
        axes_mm: (z, y, x) positions of an even grid in the scanner.
        step_mm: (z, y, x) their steps.
    """
    space = make_space(patient, axes_mm, step_mm)
    trunk = make_trunk(space, patient)
    bones = make_skeleton(space, patient, trunk)
    mediastinum = make_mediastinum(space, patient, trunk)
    lungs = make_lungs(space, patient, trunk, bones.column, mediastinum.bulk)
    abdomen = make_abdomen(space, patient, trunk, lungs.belly)
    everywhere = (slice(None), slice(None), slice(None))
    soft = Solid(space, MUSCLE_HU)
    layer = 0.9 + 0.5 * patient.visceral_fat - np.abs(trunk.cavity - 19 - 5 * space.ripple[0])
    between = 7.0 * (0.14 + 0.1 * patient.visceral_fat - np.abs(space.ripple[0] + 0.25 * space.ripple[1]))
    planes = np.maximum(layer, np.where(space.z > -60, between, -9))
    wall = np.maximum(trunk.muscle.sdf, -trunk.cavity)
    planes = np.where((wall < -1.5) & (trunk.cavity > 9), planes, -9)
    soft.add(everywhere, np.maximum(wall, planes), MUSCLE_HU)
    soft.add(everywhere, abdomen.diaphragm, DIAPHRAGM_HU)
    for solid in (abdomen.organs, mediastinum.flesh, bones.disc):
        soft.add(everywhere, solid.sdf, solid.hu, over=True)
    soft.add(everywhere, bones.cartilage.sdf, CARTILAGE_HU, over=True)
    gas = abdomen.gas
    gas.add(everywhere, mediastinum.gas.sdf)
    add_head(soft, bones.bone, gas, space, patient)
    add_pelvis(bones.bone, space, patient)
    return Shapes(space, trunk.skin, soft, mediastinum.blood, bones.bone, gas, mediastinum.lumen, lungs)
