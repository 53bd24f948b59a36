"""Who lies on the table: every parameter of a synthetic patient, drawn apart from rendering."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

SUPINE, PRONE = "supine", "prone"
ARMS = ("up", "down", "aside")
CONTRASTS = ("none", "pulmonary", "arterial", "venous")
TABLES = ("foam", "trough", "cradle", "flat", "none")


@dataclass(frozen=True)
class Patient:
    """A synthetic patient. Lengths in mm; what has no unit is a factor or a share 0..1 unless said otherwise.

    Attributes:
        sex: "female" or "male".
        age_years: Age.
        height_cm: Body height.
        bmi: Body mass index in kg/m2.
        scale: (z, y, x) size of the chest against the reference chest of a man of 172 cm.
        form: Of the chest against the reference: width above, width below, depth, and how square it is (-1..1).
        mediastinal_shift_mm: Sideways shift of heart and great vessels.
        hernia_mm: Radius of a hiatal hernia behind the heart, 0 without.
        posture: "supine" or "prone": where the table is and where gravity points.
        roll_deg: Turn about the long axis.
        arms: (right, left) "up", "down" or "aside" (out of the field of view).
        inspiration: 0 resting expiration, 1 full inspiration.
        dome_z_mm: Height of the (right, left) dome of the diaphragm in the reference chest.
        fat_mm: Fat under the skin of the flanks.
        visceral_fat: How much fat the belly and the mediastinum hold.
        muscle: Thickness of the muscles against the reference.
        breast_mm: Radius of the breasts, 0 without.
        gland: Share of gland in the breasts.
        kyphosis: How bent the thoracic spine is against the reference.
        scoliosis_mm: Sideways bow of the spine.
        lung_hu: Parenchyma of the (right, left) lung at mid height.
        gravity_hu: Difference between the lowest and the highest lung.
        texture_hu: Strength of the lobular texture.
        vessel_scale: Calibre of the lung's vessels.
        vessel_count: Ends of the vascular tree per lung.
        bronchus_scale: Calibre of the bronchi against the arteries beside them.
        fissure: How complete the fissures are, 0..1.
        heart_scale: Size of the heart.
        aorta_scale: Calibre of the aorta.
        aorta_calcium: Calcified plaque of the aortic wall, 0..1.
        trachea_mm: Radius of the trachea.
        trachea_shift_mm: Sideways shift of trachea and arch.
        thymus_mm: Thickness of thymus or the fat in its place.
        oesophagus_air_mm: Radius of the air in the oesophagus, 0 without.
        contrast: One of `CONTRASTS`.
        blood_hu: Unenhanced blood.
        enhancement_hu: Contrast medium in the vessel that the phase aims at.
        liver_hu: Unenhanced liver.
        stomach_scale: Size of the stomach.
        stomach_gas: Share of gas in the stomach.
        food: Share of lumps in the stomach.
        colon_gas: Share of gas in the colon.
        colon_high: Whether the colon lies between liver and diaphragm.
        bone_hu: Marrow of the vertebrae.
        table: One of `TABLES`.
        table_gap_mm: Between back and table.
        pillow: Whether a pillow or wedge lies under the back.
        blanket: Whether a blanket or gown covers the patient.
        leads: ECG electrodes.
        devices: Any of "port", "pacemaker", "chest tube", "sternal wires", "spine screws", "shoulder prosthesis",
            "gastric tube", "endotracheal tube", "valve".
        seed: Of the fine shape: warp of the surfaces, trees and textures.
        compact_bone: Thickness of compact bone against the reference.
        compact_bone_hu: Compact bone, pores and all.
    """

    sex: str
    age_years: float
    height_cm: float
    bmi: float
    scale: tuple[float, float, float]
    form: tuple[float, float, float, float]
    mediastinal_shift_mm: float
    hernia_mm: float
    posture: str
    roll_deg: float
    arms: tuple[str, str]
    inspiration: float
    dome_z_mm: tuple[float, float]
    fat_mm: float
    visceral_fat: float
    muscle: float
    breast_mm: float
    gland: float
    kyphosis: float
    scoliosis_mm: float
    lung_hu: tuple[float, float]
    gravity_hu: float
    texture_hu: float
    vessel_scale: float
    vessel_count: int
    bronchus_scale: float
    fissure: float
    heart_scale: float
    aorta_scale: float
    aorta_calcium: float
    trachea_mm: float
    trachea_shift_mm: float
    thymus_mm: float
    oesophagus_air_mm: float
    contrast: str
    blood_hu: float
    enhancement_hu: float
    liver_hu: float
    stomach_scale: float
    stomach_gas: float
    food: float
    colon_gas: float
    colon_high: bool
    bone_hu: float
    table: str
    table_gap_mm: float
    pillow: bool
    blanket: bool
    leads: int
    devices: frozenset[str]
    seed: int
    compact_bone: float = 1.0
    compact_bone_hu: float = 1150.0

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn.

        Raises:
            ValueError: If a named choice is unknown.
        """
        for name, known in (("posture", (SUPINE, PRONE)), ("contrast", CONTRASTS), ("table", TABLES)):
            if getattr(self, name) not in known:
                raise ValueError(f"expected {name} as one of {', '.join(known)}, got {getattr(self, name)!r}")
        if len(self.arms) != 2 or not set(self.arms) <= set(ARMS):
            raise ValueError(f"expected arms as two of {', '.join(ARMS)} (right, left), got {self.arms!r}")


def draw_patient(random: np.random.Generator, **constraints: Any) -> Patient:
    """Draw one adult of a radiology department.

    Heights follow the adult means of Europe; lung density falls with inspiration and age and is -865 HU about full
    inspiration and -700 HU at expiration (Webb, Mueller, Naidich: High-Resolution CT of the Lung).

    Args:
        random: Source of all that varies.
        constraints: Attributes of `Patient` that are given; sex, age_years, height_cm, bmi, inspiration and posture
            also shape what is drawn from them.

    Raises:
        TypeError: If a constraint is no attribute of `Patient`.
    """
    u = random.uniform

    def chance(share: float) -> bool:
        return bool(random.random() < share)

    sex = constraints.get("sex", "female" if chance(0.46) else "male")
    age = constraints.get("age_years", float(np.clip(random.normal(60, 16), 18, 95)))
    female = sex == "female"
    height = constraints.get("height_cm", float(np.clip(random.normal(163 if female else 176, 7.5), 142, 205)))
    bmi = constraints.get("bmi", float(np.clip(16 + random.gamma(4.2, 2.3), 15.5, 48)))
    inspiration = constraints.get("inspiration", float(u(0.0, 0.5) if chance(0.15) else u(0.55, 1.0)))
    posture = constraints.get("posture", PRONE if chance(0.05) else SUPINE)
    size = height / 172
    barrel = max(0.0, (age - 55) / 40) * u(0, 0.12)
    stout = 1 + 0.005 * (bmi - 25)
    scale = (
        size * u(0.96, 1.06) * (0.98 if female else 1.0),
        size * u(0.92, 1.08) * (0.965 if female else 1.0) * stout + barrel,
        size * u(0.95, 1.07) * (0.97 if female else 1.0) * stout,
    )
    right_dome = -62 - 50 * inspiration + random.normal(0, 8)
    left_dome = right_dome - u(2, 20) if chance(0.92) else right_dome + u(0, 35)
    if chance(0.05):
        right_dome += u(15, 40)
    lung = -715 - 150 * inspiration - 25 * max(0.0, (age - 50) / 40) + random.normal(0, 18)
    arm = "up" if chance(0.78) else ("down" if chance(0.8) else "aside")
    usual = str(random.choice(CONTRASTS, p=(0.5, 0.14, 0.18, 0.18)))
    contrast = constraints.get("contrast", usual)
    enhancement = {"none": 0.0, "pulmonary": u(180, 500), "arterial": u(160, 380), "venous": u(70, 150)}.get(
        contrast, 0.0
    )
    likely = {
        "port": 0.05, "pacemaker": 0.04, "chest tube": 0.03, "sternal wires": 0.05, "spine screws": 0.03,
        "shoulder prosthesis": 0.02, "gastric tube": 0.04, "endotracheal tube": 0.03, "valve": 0.02,
    }  # fmt: skip
    drawn = Patient(
        sex=sex,
        age_years=age,
        height_cm=height,
        bmi=bmi,
        scale=scale,
        form=(u(0.9, 1.1), u(0.94, 1.06), u(0.92, 1.1), u(-1.0, 1.0)),
        mediastinal_shift_mm=float(random.normal(0, 3) if chance(0.9) else random.normal(0, 12)),
        hernia_mm=float(u(10, 32)) if chance(0.08) else 0.0,
        posture=posture,
        roll_deg=float(random.normal(0, 3.0) if chance(0.9) else random.normal(0, 14)),
        arms=(arm, arm if chance(0.96) else "down"),
        inspiration=inspiration,
        dome_z_mm=(right_dome, left_dome),
        fat_mm=float(np.clip(3 + (bmi - 18) * u(1.3, 2.3) * (1.2 if female else 1.0), 2.5, 75)),
        visceral_fat=float(np.clip((bmi - 18) / 16 * u(0.5, 1.3) * (0.75 if female else 1.1), 0.03, 1.6)),
        muscle=float((0.9 if female else 1.08) * u(0.75, 1.2) * (1 - 0.004 * max(0.0, age - 50))),
        breast_mm=float(np.clip(38 + 2.2 * (bmi - 22) + random.normal(0, 9), 22, 85)) if female else 0.0,
        gland=float(np.clip(u(0.1, 0.9) - 0.006 * (age - 40), 0.03, 0.9)),
        kyphosis=float(1 + max(0.0, (age - 55) / 40) * u(0, 1.1) + random.normal(0, 0.15)),
        scoliosis_mm=float(random.normal(0, 4) if chance(0.9) else random.normal(0, 18)),
        lung_hu=(lung, lung + random.normal(0, 6)),
        gravity_hu=float(u(25, 70) + 70 * (1 - inspiration)),
        texture_hu=float(u(5, 20)),
        vessel_scale=float(u(0.85, 1.2)),
        vessel_count=int(u(850, 1500)),
        bronchus_scale=float(u(0.65, 0.95) if chance(0.85) else u(0.95, 1.4)),
        fissure=float(u(0.2, 1.0)),
        heart_scale=float(u(0.88, 1.05) + (u(0, 0.25) if chance(0.2) else 0.0)) * (1.06 - 0.06 * inspiration),
        aorta_scale=float(u(0.82, 1.0) + 0.005 * max(0.0, age - 40)) * (0.93 if female else 1.0),
        aorta_calcium=float(np.clip((age - 50) / 35 + random.normal(0, 0.25), 0, 1)),
        trachea_mm=float((7.2 if female else 9.0) * u(0.85, 1.15)),
        trachea_shift_mm=float(random.normal(0, 3)),
        thymus_mm=float(u(6, 13) if age < 40 else u(3, 9)),
        oesophagus_air_mm=float(u(1.5, 6)) if chance(0.4) else 0.0,
        contrast=contrast,
        blood_hu=float(u(32, 50)),
        enhancement_hu=float(enhancement),
        liver_hu=float(np.clip(random.normal(56 - 0.6 * max(0.0, bmi - 26), 8), 5, 75)),
        stomach_scale=float(u(0.75, 1.25)),
        stomach_gas=float(u(0.1, 0.95)) if chance(0.8) else 0.0,
        food=float(u(0, 1)) if chance(0.5) else 0.0,
        colon_gas=float(u(0.05, 1.0)),
        colon_high=chance(0.07),
        bone_hu=float(np.clip(250 - 2.2 * (age - 25) + random.normal(0, 35), 50, 330)),
        table=str(random.choice(TABLES, p=(0.34, 0.3, 0.2, 0.12, 0.04))),
        table_gap_mm=float(u(0, 12)),
        pillow=chance(0.25),
        blanket=chance(0.55),
        leads=int(random.integers(2, 7)) if chance(0.25) else 0,
        devices=frozenset(name for name, share in likely.items() if chance(share)),
        seed=int(random.integers(2**31)),
    )
    return replace(drawn, **(_compact_bone(drawn) | _overinflation(drawn) | constraints))


def _compact_bone(patient: Patient) -> dict[str, float]:
    """Compact bone thins and grows porous with age, more so in women (Zebaze et al., Lancet 2010)."""
    random = np.random.default_rng([patient.seed, 14])
    female = patient.sex == "female"
    wear = max(0.0, patient.age_years - 50) * (0.006 if female else 0.004)
    return {
        "compact_bone": float((random.uniform(0.85, 1.25) - wear) * (0.93 if female else 1.05)),
        "compact_bone_hu": float(np.clip(random.normal(1150 - 500 * wear, 130), 750, 1500)),
    }


def _overinflation(patient: Patient) -> dict[str, Any]:
    """One patient in four breathes in further than most, or has airways that trap air: darker lungs without holes.

    Between healthy people the mean density at full inspiration differs by some 30 HU of standard deviation, and in
    obstructed ones it reaches -900 HU and below (Mascalchi et al., J Thorac Imaging 2017).
    """
    random = np.random.default_rng([patient.seed, 15])
    if random.random() > 0.25:
        return {}
    darker = random.uniform(10, 85) * (0.4 + 0.6 * patient.inspiration)
    return {"lung_hu": tuple(float(max(hu - darker, -950.0)) for hu in patient.lung_hu)}
