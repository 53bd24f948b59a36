from __future__ import annotations

import pytest

from datastore.datasets.structure_names import Role, role_of

NAMES = {
    Role.RIGHT_LUNG: ["Lung_R", "Lung-Right", "right_lung", "LUNG_RT", "Rt Lung", "lungR", "RightLung", "R LUNG"]
    + ["lung_lower_lobe_right", "right upper lobe", "lung right"],
    Role.LEFT_LUNG: [
        "Lung_L",
        "Lung L",
        "Lung-Left",
        "left_lung",
        "LUNG_LT",
        "llung",
        "LeftLung",
        "lung_upper_lobe_left",
    ],
    Role.LUNGS: ["lung", "Lungs", "Lungs-Total", "lung_mask", "both lungs"],
    Role.TUMOUR: ["GTV-1", "gtv1", "GTV-2", "GTV", "tumor", "lung tumour", "cancer", "Neoplasm, Primary", "GTVp"],
    Role.OUTSIDE: ["Heart", "Esophagus", "SpinalCord", "Spinal-Cord", "trachea"],
    Role.BACKGROUND: ["background"],
    None: [
        "GTV-N1",
        "PTV",
        "CTV-1",
        "infection",
        "Lung_L-GTV",
        "left",
        "upper lobe",
        "",
        "gtv-pre-op",
        "lung vessel",
        "ignore",
    ],
}


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in NAMES.items() for name in names])
def test_a_name_has_its_role(role: Role | None, name: str) -> None:
    assert role_of(name) == role
