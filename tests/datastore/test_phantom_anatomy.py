"""Synthetic patients: plausible anatomy, exact masks, any view, the same voxels for the same seed."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import scipy.ndimage as ndimage

from datastore.phantom.anatomy import build_scene
from datastore.phantom.lung_trees import lung_trees
from datastore.phantom.patient import Patient, draw_patient
from datastore.phantom.scene import Scene
from datastore.phantom.view import KINDS, draw_view

SPACING_MM = (10.0, 8.0, 8.0)
SEEDS = range(20)


def patient_of(seed: int, **constraints: object) -> Patient:
    return draw_patient(np.random.default_rng(seed), **constraints)


def chest_of(patient: Patient, spacing_mm: tuple[float, float, float] = SPACING_MM) -> Scene:
    """From the neck to the hips in a wide field of view."""
    size_mm = (420 * patient.scale[0], 460.0, 520.0)
    shape = tuple(round(size / step) for size, step in zip(size_mm, spacing_mm, strict=True))
    return build_scene(patient, (shape[0], shape[1], shape[2]), spacing_mm, (-60 * patient.scale[0], -10.0, 0.0))


def litres(mask: np.ndarray, scene: Scene) -> float:
    return np.count_nonzero(mask) * float(np.prod(scene.spacing_mm)) / 1e6


@pytest.fixture(scope="module")
def patients() -> list[Patient]:
    return [patient_of(seed, vessel_count=60) for seed in SEEDS]


@pytest.fixture(scope="module")
def scenes(patients: list[Patient]) -> list[Scene]:
    return [chest_of(patient) for patient in patients]


def test_same_seed_gives_same_patient_and_same_voxels(patients: list[Patient], scenes: list[Scene]) -> None:
    assert patient_of(3, vessel_count=60) == patients[3]
    lung_trees.cache_clear()
    again = chest_of(patients[3])
    for field in fields(Scene):
        assert np.array_equal(getattr(again, field.name), getattr(scenes[3], field.name)), field.name


def test_scene_arrays_have_the_promised_types_and_sizes(scenes: list[Scene]) -> None:
    scene = scenes[0]
    shape = (len(scene.z_mm), len(scene.y_mm), len(scene.x_mm))
    kinds = {"hu": np.float32, "lungs": np.uint8, "lobes": np.uint8}
    for name in ("hu", "lungs", "lobes", "airways", "body", "bone", "metal"):
        array = getattr(scene, name)
        assert array.shape == shape and array.dtype == kinds.get(name, np.bool_), name
    assert scene.z_mm.dtype == np.float32 and np.isfinite(scene.hu).all()
    assert scene.spacing_mm == SPACING_MM


def test_twenty_seeds_give_twenty_different_chests(patients: list[Patient], scenes: list[Scene]) -> None:
    volumes = [litres(scene.lungs > 0, scene) for scene in scenes]
    assert max(volumes) > 1.5 * min(volumes)
    # Two chests may hold the same by chance, but hardly in each of their lobes.
    assert len({tuple(np.bincount(scene.lobes.ravel(), minlength=6)[1:]) for scene in scenes}) == len(scenes)
    assert len({patient.contrast for patient in patients}) >= 3
    assert {patient.sex for patient in patients} == {"female", "male"}
    assert len({patient.table for patient in patients}) >= 3


def test_lobes_partition_the_lungs(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert np.array_equal(scene.lobes > 0, scene.lungs > 0)
        assert np.isin(scene.lobes[scene.lungs == 1], (3, 4, 5)).all()
        assert np.isin(scene.lobes[scene.lungs == 2], (1, 2)).all()
        for lobe in range(1, 6):
            assert litres(scene.lobes == lobe, scene) > 0.08, lobe


def test_lobes_lie_as_in_a_body(scenes: list[Scene]) -> None:
    for scene in scenes:
        centre = {lobe: np.argwhere(scene.lobes == lobe).mean(axis=0) for lobe in range(1, 6)}
        assert centre[1][0] > centre[2][0] and centre[1][1] < centre[2][1]
        assert centre[3][0] > centre[4][0] and centre[3][0] > centre[5][0]
        assert centre[4][1] < centre[5][1]


def test_no_air_of_trachea_or_main_bronchi_is_lung(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert not (scene.airways & (scene.lungs > 0)).any()
        assert 0.01 < litres(scene.airways, scene) < 0.12
        core = ndimage.binary_erosion(scene.airways, np.ones((1, 3, 3)))
        if core.any():
            assert np.median(scene.hu[core]) < -900


def test_airways_in_thin_slices_keep_a_wall_against_the_lung() -> None:
    scene = build_scene(patient_of(2), (60, 128, 128), (1.0, 1.0, 1.0))
    near = ndimage.binary_dilation(scene.airways)
    assert scene.airways.any() and scene.lungs.any()
    assert not (near & (scene.lungs > 0)).any()


def test_right_lung_is_on_the_right_and_each_lung_nearly_one_piece(scenes: list[Scene]) -> None:
    for scene in scenes:
        right, left = (np.nonzero(scene.lungs == label)[2].mean() for label in (1, 2))
        assert right < len(scene.x_mm) / 2 < left
        for label in (1, 2):
            pieces, _ = ndimage.label(scene.lungs == label)
            counts = np.bincount(pieces.ravel())[1:]
            assert counts.max() / counts.sum() > 0.97


def test_lungs_hold_as_much_as_lungs_of_that_height(patients: list[Patient], scenes: list[Scene]) -> None:
    """Between residual volume and total capacity (Stocks and Quanjer, Eur Respir J 1995) with tissue and blood."""
    for patient, scene in zip(patients, scenes, strict=True):
        height_m = patient.height_cm / 100
        capacity = 7.99 * height_m - 7.08 if patient.sex == "male" else 6.60 * height_m - 5.79
        total = litres(scene.lungs > 0, scene)
        assert 0.33 * capacity < total < 1.25 * capacity + 0.8
        right, left = litres(scene.lungs == 1, scene), litres(scene.lungs == 2, scene)
        assert 0.75 < right / left < 1.6


def test_deeper_breath_gives_larger_and_darker_lungs() -> None:
    shallow, deep = (patient_of(5, inspiration=share, vessel_count=60) for share in (0.1, 1.0))
    assert deep.dome_z_mm[0] < shallow.dome_z_mm[0] and deep.lung_hu[0] < shallow.lung_hu[0] - 60
    out, full = chest_of(shallow), chest_of(deep)
    assert litres(full.lungs > 0, full) > 1.1 * litres(out.lungs > 0, out)


def test_trunk_weighs_what_a_trunk_weighs() -> None:
    """Half of the body's mass at about 1.03 kg/l (Winter, Biomechanics and Motor Control of Human Movement)."""
    ratios = []
    for seed in range(5):
        patient = patient_of(seed, arms=("up", "up"), vessel_count=20)
        count = round(560 * patient.scale[0] / 10)
        scene = build_scene(patient, (count, 56, 64), (10.0, 10.0, 10.0), (-160 * patient.scale[0], -10.0, 0.0))
        ratios.append(litres(scene.body, scene) / (patient.bmi * (patient.height_cm / 100) ** 2))
    assert 0.42 < np.mean(ratios) < 0.6
    assert min(ratios) > 0.3 and max(ratios) < 0.75


def test_lungs_are_aerated_with_vessels_in_them() -> None:
    for seed in (0, 1):
        patient = patient_of(seed)
        scene = build_scene(patient, (16, 200, 200), (1.0, 1.6, 1.6), (-35.0, -20.0, 0.0))
        lung = scene.hu[scene.lungs > 0]
        assert abs(np.median(lung) - np.mean(patient.lung_hu)) < 70
        assert 0.01 < (lung > -500).mean() < 0.2


def lying(seed: int, **constraints: object) -> Patient:
    """On the back and not rolled, with nothing bent."""
    straight = {"posture": "supine", "roll_deg": 0.0, "scoliosis_mm": 0.0, "devices": frozenset(), "leads": 0}
    return replace(patient_of(seed, vessel_count=20), **(straight | constraints))


def test_bones_are_marrow_in_a_shell_of_compact_bone() -> None:
    for seed in (0, 1, 2):
        patient = lying(seed, contrast="none", enhancement_hu=0.0)
        scene = build_scene(patient, (12, 160, 160), (2.0, 1.0, 1.0), (-40.0, 30.0, 0.0))
        depth_mm = ndimage.distance_transform_edt(scene.bone, scene.spacing_mm)
        marrow = scene.hu[depth_mm > 4]
        assert abs(np.median(marrow) - patient.bone_hu) < 60
        assert np.percentile(marrow, 84) - np.percentile(marrow, 16) > 30
        assert np.percentile(scene.hu[scene.bone], 95) > 0.8 * patient.compact_bone_hu


def test_bones_thin_and_grow_porous_with_age() -> None:
    young, old = ([patient_of(seed, sex="female", age_years=age) for seed in range(20)] for age in (30.0, 85.0))
    for name in ("compact_bone", "compact_bone_hu", "bone_hu"):
        means = [np.mean([getattr(patient, name) for patient in group]) for group in (young, old)]
        assert means[1] < 0.93 * means[0], name
    assert patient_of(0, compact_bone=0.5).compact_bone == 0.5


def test_a_back_lies_broad_on_the_table() -> None:
    for seed in (1, 3, 5):
        scene = build_scene(lying(seed), (1, 300, 200), (1.0, 1.0, 1.5), (-60.0, 0.0, 0.0))
        back_mm = np.where(scene.body[0], scene.y_mm[:, None], -np.inf).max(axis=0)
        middle, beside = np.abs(scene.x_mm) < 30, (np.abs(scene.x_mm) > 50) & (np.abs(scene.x_mm) < 70)
        assert back_mm[middle].max() - np.median(back_mm[beside]) < 10


def test_the_heart_lies_broad_behind_the_sternum() -> None:
    for seed in (1, 3, 5):
        patient = lying(seed, mediastinal_shift_mm=0.0)
        scene = build_scene(patient, (1, 200, 200), (1.0, 1.5, 1.5), (-85.0 * patient.scale[0], -40.0, 0.0))
        lung = scene.lungs[0] > 0
        front = int(np.flatnonzero(lung.any(axis=1))[0]) + 6  # 9 mm behind the wall, well before the heart's middle
        columns = scene.x_mm[np.flatnonzero(lung[front])]
        assert columns[columns > 10].min() - columns[columns < 0].max() > 28


def test_vessels_reach_the_rim_of_the_lung() -> None:
    for seed in (1, 2):
        scene = build_scene(patient_of(seed), (12, 260, 260), (2.0, 1.4, 1.4), (-20.0, -10.0, 0.0))
        depth_mm = np.stack([ndimage.distance_transform_edt(lung > 0, scene.spacing_mm[1:]) for lung in scene.lungs])
        rim = scene.hu[(depth_mm >= 3) & (depth_mm < 5)]
        assert 0.024 < (rim > -600).mean() < 0.06


def test_a_patient_is_the_same_in_every_view(patients: list[Patient]) -> None:
    patient = patients[4]
    whole = build_scene(patient, (12, 120, 120), (2.0, 3.0, 3.0), (-20.0, -20.0, 0.0))
    part = build_scene(patient, (4, 40, 40), (2.0, 3.0, 3.0), (-20.0, -20.0, 60.0))
    same = np.s_[4:8, 40:80, 60:100]
    assert np.array_equal(part.z_mm, whole.z_mm[same[0]])
    assert (part.lungs != whole.lungs[same]).mean() < 0.01
    assert (abs(part.hu - whole.hu[same]) < 60).mean() > 0.93


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_view_shows_a_body(kind: str) -> None:
    random = np.random.default_rng(11)
    patient = draw_patient(random, arms=("up", "up"), vessel_count=60)
    view = draw_view(random, patient, kind)
    spacing_mm = (10.0, 8.0, 8.0)
    scene = build_scene(patient, view.shape(spacing_mm), spacing_mm, view.centre_mm)
    assert scene.body.mean() > 0.08
    assert (scene.hu[scene.body] > 300).any() and (scene.hu[~scene.body] < -800).mean() > 0.8
    has_lung = bool(scene.lungs.any())
    assert has_lung or kind == "head and neck"
    if kind == "abdomen with lung bases":
        assert litres(scene.lungs > 0, scene) < 3.5 and not scene.lungs[0].any()


def test_view_without_lung_has_none_and_single_voxels_work() -> None:
    patient = patient_of(1)
    assert not build_scene(patient, (4, 32, 32), (5.0, 8.0, 8.0), (-420.0, -20.0, 0.0)).lungs.any()
    assert build_scene(patient, (1, 1, 1), (1.0, 1.0, 1.0)).hu.shape == (1, 1, 1)
    outside = build_scene(patient, (2, 8, 8), (1.0, 1.0, 1.0), (0.0, -600.0, 0.0))
    assert not outside.body.any() and (outside.hu == -1000).all()


def test_thick_slices_are_the_mean_of_thin_ones(patients: list[Patient]) -> None:
    patient = patients[6]
    thick = build_scene(patient, (3, 96, 96), (10.0, 4.0, 4.0), (-70.0, -20.0, 0.0))
    thin = build_scene(patient, (15, 96, 96), (2.0, 4.0, 4.0), (-70.0, -20.0, 0.0))
    assert np.allclose(thick.hu, thin.hu.reshape(3, 5, 96, 96).mean(axis=1), atol=1e-2)
    for label in (1, 2):
        share = (thin.lungs == label).reshape(3, 5, 96, 96).mean(axis=1)
        assert np.array_equal(thick.lungs == label, share > 0.5) and ((share > 0) & (share < 1)).any()
    assert np.array_equal(thick.lobes > 0, thick.lungs > 0)


def test_a_finer_grid_gives_the_same_volume(patients: list[Patient]) -> None:
    coarse = chest_of(patients[0])
    fine = chest_of(patients[0], (10.0, 4.0, 4.0))
    assert litres(fine.lungs > 0, fine) == pytest.approx(litres(coarse.lungs > 0, coarse), rel=0.03)


def test_prone_patient_lies_on_the_front() -> None:
    for posture, lower in (("supine", True), ("prone", False)):
        patient = patient_of(9, posture=posture, roll_deg=0.0, table="foam", pillow=False, leads=0, vessel_count=20)
        scene = chest_of(replace(patient, devices=frozenset()))
        rows = np.flatnonzero(((scene.hu > -960) & ~scene.body).mean(axis=(0, 2)) > 0.4)
        body = np.flatnonzero(scene.body.any(axis=(0, 2)))
        assert len(rows) and bool(rows.mean() > body.mean()) is lower
        lung = scene.lungs > 0
        back = lung & (scene.y_mm > 10)[None, :, None]
        front = lung & (scene.y_mm < -40)[None, :, None]
        assert bool(np.median(scene.hu[back]) > np.median(scene.hu[front])) is lower


def test_contrast_medium_shows_in_the_aorta() -> None:
    plain = patient_of(4, contrast="none", enhancement_hu=0.0)
    bright = replace(plain, contrast="arterial", enhancement_hu=300.0)
    scenes = [build_scene(patient, (4, 64, 64), (2.0, 2.0, 2.0), (-60.0, 0.0, 20.0)) for patient in (plain, bright)]
    gain = scenes[1].hu - scenes[0].hu
    assert 200 < gain.max() < 320 and 0.01 < (gain > 150).mean() < 0.5


def test_implants_are_marked_as_metal() -> None:
    patient = replace(
        patient_of(8, vessel_count=20), devices=frozenset({"pacemaker", "sternal wires", "spine screws"}), leads=4
    )
    scene = chest_of(patient, (10.0, 4.0, 4.0))
    assert scene.metal.any() and np.median(scene.hu[scene.metal]) > 1000
    none = replace(patient, devices=frozenset(), leads=0)
    assert not chest_of(none).metal.any()


def test_stomach_and_bowel_hold_gas_that_is_not_lung() -> None:
    shares = []
    for gas in (0.0, 0.9):
        patient = replace(patient_of(12, vessel_count=20), stomach_gas=gas, food=0.0, hernia_mm=0.0)
        scene = chest_of(patient)
        air = (scene.hu < -700) & scene.body & (scene.lungs == 0) & ~scene.airways
        shares.append(litres(air[:, :, len(scene.x_mm) // 2 :], scene))
    assert shares[1] > shares[0] + 0.03


def test_unknown_constraint_is_refused() -> None:
    with pytest.raises(TypeError, match="hight"):
        patient_of(0, hight=180)


@pytest.mark.parametrize(
    ("name", "value"), [("posture", "upright"), ("contrast", "gadolinium"), ("table", "stone"), ("arms", ("up", "off"))]
)
def test_unknown_choice_is_named(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"expected {name}"):
        patient_of(0, **{name: value})


def test_enhancement_follows_the_phase_that_was_asked_for() -> None:
    for seed in range(8):
        assert patient_of(seed, contrast="none").enhancement_hu == 0
        assert patient_of(seed, contrast="arterial").enhancement_hu > 150


def test_unknown_view_is_named() -> None:
    with pytest.raises(ValueError, match="got 'knee'"):
        draw_view(np.random.default_rng(0), patient_of(0), "knee")


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "words"),
    [((0, 4, 4), (1.0, 1.0, 1.0), "sizes above 0"), ((4, 4, 4), (1.0, -1.0, 1.0), "numbers above 0")],
)
def test_impossible_grid_is_named(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        build_scene(patient_of(0), shape, spacing_mm)


@pytest.mark.parametrize("thick_mm", [3.0, 5.0, 10.0])
def test_thick_slices_leave_the_lungs_their_volume(patients: list[Patient], thick_mm: float) -> None:
    def lung_ml(slice_mm: float) -> float:
        scene = build_scene(patients[6], (round(420 / slice_mm), 64, 64), (slice_mm, 6.0, 6.0), (-60.0, -20.0, 0.0))
        return float(np.count_nonzero(scene.lungs)) * slice_mm * 36 / 1000

    assert lung_ml(thick_mm) == pytest.approx(lung_ml(2.5), rel=0.01)
