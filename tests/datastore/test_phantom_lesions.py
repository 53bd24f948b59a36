from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from datastore.phantom.lesions import KINDS, add_lesions, draw_lesions
from datastore.phantom.lesions.air_spaces import Consolidation, GroundGlass
from datastore.phantom.lesions.atelectasis import Atelectasis
from datastore.phantom.lesions.effusion import Effusion
from datastore.phantom.lesions.emphysema import Emphysema
from datastore.phantom.lesions.masses import Mass
from datastore.phantom.lesions.plan import LesionPlan
from datastore.phantom.lesions.pneumothorax import Pneumothorax
from datastore.phantom.lesions.resection import Resection
from datastore.phantom.scene import Scene

Masks = dict[str, np.ndarray]
BASE_HU = -850.0


def make_scene(
    shape: tuple[int, int, int] = (44, 58, 76),
    spacing_mm: tuple[float, float, float] = (6.0, 4.5, 4.2),
    centre_mm: tuple[float, float, float] = (-30.0, -40.0, 0.0),
) -> Scene:
    """Two ellipsoids of lung with a vessel each in a body of water, ribs around them and a trachea."""
    z_mm, y_mm, x_mm = (
        (middle + (np.arange(size) - (size - 1) / 2) * step).astype(np.float32)
        for size, step, middle in zip(shape, spacing_mm, centre_mm, strict=True)
    )
    z, y, x = np.ix_(z_mm, y_mm, x_mm)
    body = np.broadcast_to(((y + 40) / 120) ** 2 + (x / 155) ** 2 < 1, shape)
    hu = np.where(body, 40.0, -1000.0).astype(np.float32)
    lungs, lobes = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    bone = np.zeros(shape, bool)
    for side in (1, 2):
        middle = (2 * side - 3) * 72
        lung = ((z + 30) / 125) ** 2 + ((y + 42) / 88) ** 2 + ((x - middle) / 58) ** 2 < 1
        shell = ((z + 30) / 125) ** 2 + ((y + 42) / 95) ** 2 + ((x - middle) / 65) ** 2 < 1
        lungs[lung] = side
        lower = lung & (z < y + 20)
        lobes[lung] = 3 if side == 1 else 1
        lobes[lower] = 5 if side == 1 else 2
        bone |= shell & ~lung & ((z // 12) % 2 == 0) & (abs(x) > 80)
        hu[lung] = BASE_HU
        hu[lung & (abs(y + 20) < 4) & (abs(z + 20) < 6)] = 45.0
    hu[bone] = 500.0
    airways = np.broadcast_to((y + 22) ** 2 + x**2 < 100, shape) & (z > 0)
    hu[airways] = -980.0
    return Scene(
        hu=hu,
        lungs=lungs,
        lobes=lobes,
        airways=airways,
        body=body,
        bone=bone,
        metal=np.zeros(shape, bool),
        z_mm=z_mm,
        y_mm=y_mm,
        x_mm=x_mm,
        spacing_mm=spacing_mm,
        lung_base_hu=(BASE_HU, BASE_HU),
    )


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene()


@functools.cache
def shown(kind: str, seed: int, severity: float) -> tuple[Scene, Masks]:
    """A disease of both lungs that several tests look at."""
    return rendered(make_scene(), kind, seed, severity)


def rendered(
    scene: Scene, kind: str, seed: int, severity: float, sides: tuple[int, ...] = (1, 2), posture: str = "supine"
) -> tuple[Scene, Masks]:
    random = np.random.default_rng(seed)
    plans = draw_lesions(random, [kind], severity=severity, sides=sides)
    return add_lesions(scene, plans, random, posture=posture)


def alone(
    scene: Scene, disease: type[LesionPlan], seed: int, severity: float, **changes: object
) -> tuple[Scene, Masks]:
    """One disease without what comes along, some of its parameters given."""
    random = np.random.default_rng(seed)
    plan = dataclasses.replace(disease.draw(random, (1, 2), severity)[0], **changes)  # type: ignore[arg-type]
    return add_lesions(scene, [plan], random)


def mean_height(mask: np.ndarray, scene: Scene) -> float:
    """Mean height in mm above the table of a patient on the back."""
    return float(-scene.y_mm[np.nonzero(mask)[1]].mean())


@pytest.mark.parametrize("kind", KINDS)
def test_disease_lies_in_its_lungs_and_shows(scene: Scene, kind: str) -> None:
    sick, masks = shown(kind, 0, 0.8)
    assert masks[kind].any()
    for mask in masks.values():
        assert mask.dtype == bool and not mask[sick.lungs == 0].any()
    if kind != "resection":
        assert np.array_equal(sick.lungs[sick.lungs > 0], scene.lungs[sick.lungs > 0])
        elsewhere = (scene.lungs == 0) & ~scene.bone
        assert np.array_equal(sick.hu[elsewhere], scene.hu[elsewhere])
    changed = abs(sick.hu - scene.hu) > 20
    assert changed[masks[kind] & (scene.lungs > 0)].mean() > 0.8
    assert np.isfinite(sick.hu).all() and sick.hu.dtype == np.float32 and sick.hu.min() >= -1001


@pytest.mark.parametrize("kind", KINDS)
def test_one_sided_disease_leaves_the_other_lung_alone(scene: Scene, kind: str) -> None:
    side = 1 + KINDS.index(kind) % 2
    random = np.random.default_rng(5)
    plans = draw_lesions(random, [kind], severity=0.4, sides=(side,))
    sick, masks = add_lesions(scene, plans, random)
    if sum(abs(plan.pull_mm) for plan in plans) < 1:
        other = scene.lungs == 3 - side
        assert np.array_equal(sick.hu[other], scene.hu[other])
    assert not any(mask[sick.lungs == 3 - side].any() for mask in masks.values())
    assert masks[kind].any()


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_disease_and_another_seed_another(scene: Scene, kind: str) -> None:
    (first, masks), (again, masks_again) = shown(kind, 1, 0.1), rendered(scene, kind, 1, 0.1)
    assert np.array_equal(first.hu, again.hu) and np.array_equal(first.lungs, again.lungs)
    assert masks.keys() == masks_again.keys()
    assert all(np.array_equal(masks[name], masks_again[name]) for name in masks)
    assert not np.array_equal(first.hu, shown(kind, 0, 0.1)[0].hu)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "resection"])
def test_worse_is_larger_on_average(kind: str) -> None:
    mild, bad = (
        sum(np.count_nonzero(shown(kind, seed, severity)[1][kind]) for seed in (0, 1)) for severity in (0.1, 0.8)
    )
    assert 0 < mild < 0.7 * bad


def test_free_fluid_and_air_grow_with_every_step_of_severity(scene: Scene) -> None:
    for disease, given in ((Effusion, {"form": "free"}), (Pneumothorax, {"fluid_share": 0.0})):
        sizes = [
            np.count_nonzero(alone(scene, disease, 2, severity, **given)[1][disease.kind])
            for severity in (0.1, 0.3, 0.5, 0.7, 0.9)
        ]
        assert sizes == sorted(set(sizes)), disease.kind


def test_scene_that_was_handed_in_stays_as_it_was(scene: Scene) -> None:
    names = ("hu", "lungs", "lobes", "airways", "bone", "metal")
    before = {name: getattr(scene, name).copy() for name in names}
    for kind in ("effusion", "atelectasis", "fibrosis", "trauma", "resection"):
        rendered(scene, kind, 2, 0.95, sides=(1,))
    assert all(np.array_equal(before[name], getattr(scene, name)) for name in names)


def test_solid_diseases_have_the_density_of_tissue(scene: Scene) -> None:
    for seed in range(3):
        sick, masks = alone(scene, Consolidation, seed, 0.6, tissue_hu=40.0, form="lobar")
        assert 10 < np.median(sick.hu[masks["consolidation"]]) < 60
        sick, masks = alone(scene, Atelectasis, seed, 0.6, form="dependent")
        assert 15 < np.median(sick.hu[masks["atelectasis"]]) < 135
        sick, masks = alone(scene, Mass, seed, 0.7)
        assert 0 < np.median(sick.hu[masks["mass"]]) < 105


def test_fluid_has_the_density_of_its_kind(scene: Scene) -> None:
    for seed in range(3):
        sick, masks = alone(scene, Effusion, seed, 0.5, form="free", rim_hu=None)
        assert -5 < np.median(sick.hu[masks["effusion"]]) < 33
    random = np.random.default_rng(0)
    bleeding = [plan for _ in range(20) for plan in draw_lesions(random, ["trauma"]) if isinstance(plan, Effusion)]
    assert bleeding and all(35 <= plan.fluid_hu <= 70 for plan in bleeding)


def test_ground_glass_is_hazy_and_vessels_stay_visible_in_it(scene: Scene) -> None:
    sick, masks = alone(scene, GroundGlass, 1, 0.9, where="diffuse", mosaic=False)
    haze = masks["ground glass"] & (scene.hu < -800)
    assert -700 < np.median(sick.hu[haze]) < -300
    vessel = masks["ground glass"] & (scene.hu > 40)
    assert vessel.any() and sick.hu[vessel].min() > 35 and sick.hu[vessel].max() < 60


@pytest.mark.parametrize("form", ["centrilobular", "paraseptal", "panlobular"])
def test_emphysema_is_darker_than_lung_down_to_air(scene: Scene, form: str) -> None:
    sick, masks = alone(scene, Emphysema, 4, 0.8, form=form)
    hole = masks["emphysema"] & (scene.hu < -800)
    assert -1000 < np.median(sick.hu[hole]) < -890
    assert np.percentile(sick.hu[hole], 5) < -940


@pytest.mark.parametrize(("posture", "sign"), [("supine", 1), ("prone", -1)])
def test_free_fluid_is_dependent_and_air_is_not(scene: Scene, posture: str, sign: int) -> None:
    random = np.random.default_rng(1)
    for severity in (0.2, 0.5):
        fluid = dataclasses.replace(Effusion.draw(random, (1, 2), severity)[0], form="free")  # type: ignore[call-arg]
        sick, masks = add_lesions(scene, [fluid], random, posture=posture)
        lung = mean_height(scene.lungs > 0, scene)
        assert sign * mean_height(masks["effusion"], sick) < sign * lung - 20
        air = Pneumothorax.draw(random, (1, 2), severity)
        sick, masks = add_lesions(scene, air, random, posture=posture)
        assert sign * mean_height(masks["pneumothorax"], sick) > sign * lung + 10


def test_fluid_follows_gravity_of_a_patient_on_the_side(scene: Scene) -> None:
    random = np.random.default_rng(1)
    fluid = dataclasses.replace(Effusion.draw(random, (1,), 0.4)[0], form="free")  # type: ignore[call-arg]
    sick, masks = add_lesions(scene, [fluid], random, posture="right decubitus")
    assert scene.x_mm[np.nonzero(masks["effusion"])[2]].mean() < scene.x_mm[np.nonzero(scene.lungs == 1)[2]].mean() - 10


def test_pneumothorax_is_air_and_the_lung_below_it_is_denser(scene: Scene) -> None:
    sick, masks = alone(scene, Pneumothorax, 2, 0.8, fluid_share=0.0, tension_mm=0.0)
    air = masks["pneumothorax"]
    assert np.median(sick.hu[air]) < -990
    assert np.median(sick.hu[(scene.lungs > 0) & ~air]) > BASE_HU + 100


def test_fluid_of_a_hydropneumothorax_has_a_level_under_the_air(scene: Scene) -> None:
    sick, masks = alone(scene, Pneumothorax, 2, 0.6, fluid_share=0.3, around=0.8)
    lowest_air = scene.y_mm[np.nonzero(masks["pneumothorax"])[1]].max()
    highest_fluid = scene.y_mm[np.nonzero(masks["effusion"])[1]].min()
    assert masks["effusion"].any() and highest_fluid > lowest_air - 8
    assert not (masks["effusion"] & masks["pneumothorax"]).any()


def test_fluid_takes_the_place_of_the_disease_that_was_there(scene: Scene) -> None:
    random = np.random.default_rng(3)
    plans = draw_lesions(random, ["consolidation", "effusion"], severity=0.8, sides=(1, 2))
    _, masks = add_lesions(scene, plans, random)
    assert masks["effusion"].any() and masks["consolidation"].any()
    assert not (masks["effusion"] & masks["consolidation"]).any()


def test_lobar_consolidation_stays_behind_its_fissure(scene: Scene) -> None:
    _, masks = alone(scene, Consolidation, 1, 0.7, form="lobar", share=0.9)
    for side, lobes in ((1, (3, 5)), (2, (1, 2))):
        shares = [np.count_nonzero(masks["consolidation"] & (scene.lobes == lobe)) for lobe in lobes]
        assert min(shares) < 0.06 * max(shares), f"lung {side}"


def test_surgery_and_collapse_make_a_lung_smaller_and_pull_the_mediastinum_over(scene: Scene) -> None:
    random = np.random.default_rng(7)
    plan = dataclasses.replace(
        Resection.draw(random, (2,), 0.9)[0], whole=False, rise_mm=40.0, shift_mm=25.0, staples=40
    )  # type: ignore[call-arg]
    sick, _ = add_lesions(scene, [plan], random)
    assert np.count_nonzero(sick.lungs == 2) < 0.9 * np.count_nonzero(scene.lungs == 2)
    assert (sick.lobes[sick.lungs == 0] == 0).all() and (sick.lobes[sick.lungs > 0] > 0).all()
    level = np.abs(scene.z_mm - 20).argmin()
    trachea = [float(scene.x_mm[np.nonzero(record.airways[level])[1]].mean()) for record in (scene, sick)]
    assert trachea[1] > trachea[0] + 10
    lost = (scene.lungs == 2) & (sick.lungs == 0)
    assert np.median(sick.hu[lost]) > -200


def test_staples_are_metal() -> None:
    fine = make_scene((40, 60, 60), (1.5, 1.5, 1.5), (-22.0, -14.0, 38.0))
    plan = Resection.draw(np.random.default_rng(7), (2,), 0.8)[0]
    sick, _ = add_lesions(fine, [dataclasses.replace(plan, whole=True, staples=40)], np.random.default_rng(1))  # type: ignore[call-arg]
    assert sick.metal.any() and sick.hu[sick.metal].min() > 800 and not fine.metal.any()


def test_dense_lung_has_no_dark_outline(scene: Scene) -> None:
    soft = dataclasses.replace(scene, hu=scene.hu.copy())
    rim = np.zeros(scene.lungs.shape, bool)
    rim[:, :, 1:] = (scene.lungs[:, :, 1:] == 0) & (scene.lungs[:, :, :-1] == 1) & ~scene.bone[:, :, 1:]
    soft.hu[rim] = -380.0
    sick, _ = alone(soft, Consolidation, 1, 1.0, form="whole lung", share=1.0)
    assert np.median(sick.hu[rim]) > -60


def test_mediastinum_does_not_move_for_diseases_of_both_lungs(scene: Scene) -> None:
    sick, _ = alone(scene, Effusion, 1, 0.95, form="free")
    assert np.array_equal(sick.airways, scene.airways) and np.array_equal(sick.lungs, scene.lungs)


def test_ribs_break_only_where_there_is_bone(scene: Scene) -> None:
    sick, _ = rendered(scene, "trauma", 1, 0.9)
    broken = scene.bone & (sick.hu < 100)
    assert broken.any() and broken.mean() < 0.05 * scene.bone.mean()
    boneless = dataclasses.replace(scene, bone=np.zeros_like(scene.bone))
    sick, masks = rendered(boneless, "trauma", 1, 0.9)
    assert masks["trauma"].any() and (sick.hu[scene.bone] > 400).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("shape", "centre_mm"),
    [
        ((6, 40, 60), (-120.0, -40.0, 0.0)),
        ((5, 40, 60), (70.0, -40.0, 0.0)),
        ((20, 40, 20), (-30.0, -40.0, 60.0)),
        ((1, 30, 40), (-30.0, -40.0, 0.0)),
        ((3, 4, 5), (-30.0, -40.0, 60.0)),
        ((1, 1, 1), (-30.0, -40.0, 72.0)),
        ((8, 20, 20), (400.0, 0.0, 0.0)),
    ],
)
def test_cut_tiny_and_absent_lungs_do_no_harm(
    kind: str, shape: tuple[int, int, int], centre_mm: tuple[float, float, float]
) -> None:
    part = make_scene(shape, (6.0, 6.0, 6.0), centre_mm)
    sick, masks = rendered(part, kind, 1, 0.8)
    assert sick.hu.shape == shape and np.isfinite(sick.hu).all()
    assert kind in masks and not any(mask[sick.lungs == 0].any() for mask in masks.values())


def test_anisotropic_grids_show_a_disease_of_the_same_size() -> None:
    shares = []
    for shape, spacing_mm in (((88, 36, 46), (3.0, 7.2, 6.8)), ((22, 72, 92), (12.0, 3.6, 3.4))):
        whole = make_scene(shape, spacing_mm)
        _, masks = alone(whole, Effusion, 1, 0.5, form="free")
        shares.append(np.count_nonzero(masks["effusion"]) / np.count_nonzero(whole.lungs))
    assert shares[0] == pytest.approx(shares[1], rel=0.15)


def test_random_patients_get_one_to_three_diseases_with_what_comes_along() -> None:
    random = np.random.default_rng(0)
    drawn = [draw_lesions(random) for _ in range(200)]
    assert {plan.kind for plans in drawn for plan in plans} == set(KINDS)
    assert min(len(plans) for plans in drawn) == 1 and max(len(plans) for plans in drawn) <= 6
    assert all(0 <= plan.severity <= 1 and set(plan.sides) <= {1, 2} for plans in drawn for plan in plans)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": ["measles"]}, "measles"),
        ({"kinds": ["mass"], "severity": 1.5}, "1.5"),
        ({"kinds": ["mass"], "sides": (3,)}, r"\(3,\)"),
    ],
)
def test_impossible_diseases_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_lesions(np.random.default_rng(0), **arguments)  # type: ignore[arg-type]


def test_unknown_posture_is_refused(scene: Scene) -> None:
    with pytest.raises(ValueError, match="standing"):
        add_lesions(scene, [], np.random.default_rng(0), posture="standing")
