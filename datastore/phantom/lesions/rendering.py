"""Plans of diseases, drawn at random and painted into a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from datastore.phantom.lesions.air_spaces import Consolidation, GroundGlass
from datastore.phantom.lesions.atelectasis import Atelectasis
from datastore.phantom.lesions.borders import carry_over
from datastore.phantom.lesions.bronchiectasis import Bronchiectasis
from datastore.phantom.lesions.cavities import Cavity
from datastore.phantom.lesions.covid import CovidPneumonia
from datastore.phantom.lesions.effusion import Effusion
from datastore.phantom.lesions.emphysema import Emphysema
from datastore.phantom.lesions.fibrosis import Fibrosis
from datastore.phantom.lesions.masses import Mass, MiliaryNodules, Nodules
from datastore.phantom.lesions.mediastinal_shift import shift_mediastinum
from datastore.phantom.lesions.oedema import Oedema
from datastore.phantom.lesions.plan import LesionPlan
from datastore.phantom.lesions.pneumothorax import Pneumothorax
from datastore.phantom.lesions.region import LungRegion, lung_boxes
from datastore.phantom.lesions.resection import Resection
from datastore.phantom.lesions.trauma import Trauma, break_ribs
from datastore.phantom.scene import Scene

DISEASES: dict[str, type[LesionPlan]] = {
    disease.kind: disease
    for disease in (
        Effusion, Consolidation, Atelectasis, GroundGlass, CovidPneumonia, Oedema, Fibrosis, Emphysema, Pneumothorax,
        Mass, Nodules, MiliaryNodules, Cavity, Bronchiectasis, Trauma, Resection,
    )
}  # fmt: skip
KINDS = tuple(DISEASES)
SHARES = {
    "effusion": 2.0, "consolidation": 2.0, "atelectasis": 2.0, "ground glass": 1.2, "covid": 1.2, "oedema": 1.2,
    "fibrosis": 1.2, "emphysema": 1.5, "pneumothorax": 1.2, "mass": 1.5, "nodules": 1.0, "miliary": 0.4,
    "cavity": 0.8, "bronchiectasis": 0.8, "trauma": 0.8, "resection": 0.6,
}  # fmt: skip
"""How often a disease is drawn, relative to the others: what makes lungs hard to segment more than what is common."""
METAL_HU = 800.0
DISPLACING = ("effusion", "pneumothorax")
"""What takes the place of lung, and of the diseases that were painted there before."""
DOWN = {
    "supine": (0.0, 1.0, 0.0),
    "prone": (0.0, -1.0, 0.0),
    "right decubitus": (0.0, 0.0, -1.0),
    "left decubitus": (0.0, 0.0, 1.0),
}
"""Direction of gravity (z, y, x) in the patient frame for each posture."""


def draw_lesions(
    random: np.random.Generator,
    kinds: Sequence[str] | None = None,
    *,
    severity: float | None = None,
    sides: tuple[int, ...] | None = None,
) -> tuple[LesionPlan, ...]:
    """Draw diseases and all of their parameters.

    Args:
        random: Source of all that varies.
        kinds: Which diseases, out of `KINDS`; None draws one to three of them.
        severity: 0..1 for all; None draws it for each.
        sides: 1 right, 2 left, for all; None draws them for each.

    Returns:
        Plans; more than `kinds` where a disease comes with another, as heart failure with effusions.

    Raises:
        ValueError: If a kind is unknown, or severity or sides are out of range.

    >>> [plan.kind for plan in draw_lesions(np.random.default_rng(1), ["mass", "effusion"])]
    ['mass', 'effusion']
    """
    if severity is not None and not 0.0 <= severity <= 1.0:
        raise ValueError(f"expected severity in 0..1, got {severity}")
    if sides is not None and (not sides or not set(sides) <= {1, 2}):
        raise ValueError(f"expected sides out of 1 (right) and 2 (left), got {sides}")
    if kinds is None:
        weights = np.array([SHARES[kind] for kind in KINDS])
        count = int(random.choice([1, 2, 3], p=[0.5, 0.35, 0.15]))
        kinds = [str(kind) for kind in random.choice(KINDS, count, replace=False, p=weights / weights.sum())]
    plans: list[LesionPlan] = []
    for kind in kinds:
        if kind not in DISEASES:
            raise ValueError(f"unknown disease {kind!r}, expected one of {', '.join(KINDS)}")
        disease = DISEASES[kind]
        chosen = (1, 2) if random.random() < disease.both else (1 + int(random.integers(2)),)
        drawn = float(random.beta(1.1, 1.1))
        plans += disease.draw(random, sides or chosen, drawn if severity is None else severity)
    return tuple(plans)


def add_lesions(
    scene: Scene, plans: Sequence[LesionPlan], random: np.random.Generator, *, posture: str = "supine"
) -> tuple[Scene, dict[str, np.ndarray]]:
    """Paint diseases into a scene.

    All of a disease lies inside its lung. Fibrosis, atelectasis and resection may make a lung smaller; nothing
    makes it larger. A disease that finds no room, e.g. since its lung is not in view, is absent.

    Args:
        scene: A patient on a grid; left as it is.
        plans: Diseases as drawn by `draw_lesions`.
        random: Source of the shapes.
        posture: "supine", "prone", "right decubitus" or "left decubitus": where fluid and air go.

    Returns:
        The scene with changed `hu`, `lungs`, `lobes` and `metal` (and all of it where the mediastinum moves), and
        a (z, y, x) bool mask for each kind: those of the plans and those that come along, e.g. "atelectasis" beside
        an effusion.

    Raises:
        ValueError: If the posture is unknown.
    """
    if posture not in DOWN:
        raise ValueError(f"unknown posture {posture!r}, expected one of {', '.join(DOWN)}")
    shape = scene.lungs.shape
    masks = {plan.kind: np.zeros(shape, bool) for plan in plans}
    shift_mm = sum(plan.pull_mm * (2 * plan.sides[0] - 3) for plan in plans if len(plan.sides) == 1)
    moved = shift_mediastinum(scene, shift_mm)
    work = replace(moved, hu=scene.hu.copy()) if moved is scene else moved
    boxes = lung_boxes(work.lungs, work.spacing_mm)
    for side in (1, 2):
        seeds = random.integers(2**63, size=len(plans))
        own = sorted(
            ((plan, int(seed)) for plan, seed in zip(plans, seeds, strict=True) if side in plan.sides),
            key=lambda pair: pair[0].stage,
        )
        box = boxes[side - 1]
        if box is None or not own:
            continue
        region = LungRegion(work, side, box, DOWN[posture], shift_mm)
        lung = region.inside.copy()
        here: dict[str, np.ndarray] = {}
        for plan, seed in own:
            painter = np.random.default_rng(seed)
            painted = plan.paint(region, painter)
            for kind, mask in painted.items():
                if kind in DISPLACING:
                    for other in here.values():
                        other &= ~mask
                here[kind] = here[kind] | mask if kind in here else mask
            if isinstance(plan, Trauma):
                break_ribs(work.hu, work.bone, region, painted[plan.kind], plan.fractures, painter)
        for kind, mask in here.items():
            masks.setdefault(kind, np.zeros(shape, bool))[box] |= mask & region.inside
        work = _put_back(work, scene, region, lung)
    return work, masks


def _put_back(work: Scene, scene: Scene, region: LungRegion, lung: np.ndarray) -> Scene:
    """Write a painted lung into the working scene; arrays that still are the caller's are copied first."""
    box = region.box
    before = work.hu[box] if region.healthy_hu is None else region.healthy_hu
    carry_over(region.hu, before, region.inside, region.apart, region.base_hu)
    # Broken ribs are drawn into the scene itself.
    bone = work.bone[box] & ~lung
    region.hu[bone] = work.hu[box][bone]
    work.hu[box] = region.hu
    lost = lung & ~region.inside
    staples = lung & (region.hu > METAL_HU)
    lungs, lobes, metal = work.lungs, work.lobes, work.metal
    if lost.any():
        lungs, lobes = (new.copy() if new is old else new for new, old in ((lungs, scene.lungs), (lobes, scene.lobes)))
        lungs[box][lost] = 0
        lobes[box][lost] = 0
    if staples.any():
        metal = metal.copy() if metal is scene.metal else metal
        metal[box] |= staples
    return replace(work, lungs=lungs, lobes=lobes, metal=metal)
