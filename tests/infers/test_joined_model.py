"""The network's dense lung beside the threshold's air: what is taken from which."""

from __future__ import annotations

import numpy as np
import pytest

from datastore.phantom import Phantom, chest_phantom
from infers import load_model
from infers.joined_model import JoinedModel, join
from infers.models import NetworkModel
from infers.options import Options, Postprocessing
from infers.uncertainty import uncertainty

SPACING_MM = (2.0, 1.0, 1.0)
SHAPE = (30, 60, 60)
RIGHT, LEFT = np.s_[5:25, 15:45, 8:26], np.s_[5:25, 15:45, 34:52]


@pytest.fixture
def hu() -> np.ndarray:
    hu = np.full(SHAPE, 40, np.int16)
    hu[RIGHT] = hu[LEFT] = -850
    return hu


def lungs() -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[RIGHT], mask[LEFT] = 1, 2
    return mask


def grown(mask: np.ndarray, by: int) -> np.ndarray:
    """A mask whose border lies further out, along y and x."""
    out = mask.copy()
    for axis in (1, 2):
        for step in (*range(1, by + 1), *range(-by, 0)):
            moved = np.roll(mask, step, axis)
            out = np.where(out == 0, moved, out)
    return out


def test_a_border_that_the_network_puts_elsewhere_is_left_where_the_air_ends(hu: np.ndarray) -> None:
    for by in (1, 2):
        np.testing.assert_array_equal(join(lungs(), grown(lungs(), by), hu, SPACING_MM), lungs())
    smaller = lungs()
    smaller[:, 15:17] = 0
    np.testing.assert_array_equal(join(lungs(), smaller, hu, SPACING_MM), lungs())


@pytest.mark.parametrize(("side", "where"), [(1, RIGHT), (2, LEFT)])
def test_dense_lung_is_added_on_the_networks_side(hu: np.ndarray, side: int, where: tuple[slice, ...]) -> None:
    fluid = (where[0], slice(33, 45), where[2])
    hu[fluid] = 10
    aerated = lungs()
    aerated[fluid] = 0
    joined = join(aerated, lungs(), hu, SPACING_MM)
    added = (joined > 0) & (aerated == 0)
    assert (joined[added] == side).all()
    assert added[fluid].mean() > 0.95 and added.sum() == added[fluid].sum()


def test_a_lung_without_any_air_is_found_beside_the_other(hu: np.ndarray) -> None:
    hu[LEFT] = 20
    aerated = np.where(lungs() == 1, 1, 0).astype(np.uint8)
    joined = join(aerated, lungs(), hu, SPACING_MM)
    assert (joined[LEFT] == 2).mean() > 0.9 and (joined[RIGHT] == 1).all()


def test_gas_that_the_network_does_not_know_is_no_lung(hu: np.ndarray) -> None:
    hu[2:28, 50:58, 20:40] = -990
    aerated = lungs()
    aerated[2:28, 50:58, 20:40] = 2
    np.testing.assert_array_equal(join(aerated, lungs(), hu, SPACING_MM), lungs())


@pytest.mark.parametrize(("content_hu", "is_lung"), [(-995, False), (-900, True)])
def test_gas_that_runs_into_the_lung_is_left_out_and_dark_lung_is_not(
    hu: np.ndarray, content_hu: int, is_lung: bool
) -> None:
    stomach = np.s_[5:25, 45:58, 34:52]
    hu[stomach] = content_hu
    aerated = lungs()
    aerated[stomach] = 2
    joined = join(aerated, lungs(), hu, SPACING_MM)
    assert (joined[stomach] == 2).mean() == pytest.approx(float(is_lung), abs=0.05)
    np.testing.assert_array_equal(joined[:, :45], lungs()[:, :45])


def test_a_cavity_is_lung_and_an_airway_is_none(hu: np.ndarray) -> None:
    hole, tube = np.s_[10:20, 20:32, 10:22], np.s_[0:30, 24:34, 27:33]
    hu[hole] = hu[tube] = -1000
    aerated, found = lungs(), lungs()
    aerated[hole] = 0
    found[5:10, 24:34, 27:33] = 1  # the network takes a part of the airway for lung
    joined = join(aerated, found, hu, SPACING_MM)
    assert (joined[hole] == 1).mean() > 0.95
    assert not joined[tube].any()


def test_where_the_threshold_fails_the_network_decides(hu: np.ndarray) -> None:
    aerated = np.zeros(SHAPE, np.uint8)
    aerated[5:10] = lungs()[5:10]
    np.testing.assert_array_equal(join(aerated, lungs(), hu, SPACING_MM), lungs())


def test_where_no_air_is_there_is_no_lung() -> None:
    water = np.full(SHAPE, 20, np.int16)
    assert not join(np.zeros(SHAPE, np.uint8), lungs(), water, SPACING_MM).any()


def test_masks_that_are_joined_stay_as_they_are(hu: np.ndarray) -> None:
    aerated, found = lungs(), grown(lungs(), 2)
    hu[:, 36:45] = 30
    aerated[:, 36:] = 0
    before = aerated.copy(), found.copy()
    join(aerated, found, hu, SPACING_MM)
    np.testing.assert_array_equal((aerated, found), before)


@pytest.fixture(scope="module")
def ill() -> Phantom:
    return chest_phantom(3, shape=(40, 128, 128), spacing_mm=(8.0, 3.0, 3.0), lesion=True)


def test_the_model_that_comes_with_lungapp_is_a_joined_one(ill: Phantom) -> None:
    model = load_model()
    assert isinstance(model, JoinedModel) and load_model("Bootstrap").version == model.version
    mask = model.predict(ill.image.array, ill.image.spacing_zyx_mm)
    truth = ill.lungs.array
    for side in (1, 2):
        both = np.count_nonzero((mask == side) & (truth == side))
        assert 2 * both / (np.count_nonzero(mask == side) + np.count_nonzero(truth == side)) > 0.93
    assert model.version != load_model("fast").version
    assert uncertainty(ill.image, model).structures == uncertainty(ill.image, load_model("fast")).structures


def test_another_postprocessing_is_that_of_the_network_alone() -> None:
    options = Options(Postprocessing.PAPER)
    model = load_model("bootstrap", options=options)
    assert isinstance(model, NetworkModel) and model.version == load_model("fast", options=options).version
