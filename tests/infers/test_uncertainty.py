from __future__ import annotations

import numpy as np
import pytest
import torch

from datastore.labels import LUNGS, Structure
from datastore.phantom import chest_phantom
from infers import load_model, segment
from infers.network_model import NetworkModel
from infers.perturbations import perturbations
from infers.uncertainty import StructureUncertainty, _entropy, _numbers, _tally, uncertainty
from infers.weights import BOOTSTRAP, load_weights


@pytest.fixture(scope="module")
def model() -> NetworkModel:
    return NetworkModel(load_weights(BOOTSTRAP), torch.device("cpu"))


def by_name(found) -> dict[str, StructureUncertainty]:
    return {structure.name: structure for structure in found.structures}


def test_entropy_lies_on_the_scans_grid_and_at_the_lungs_borders(model):
    phantom = chest_phantom(1, (10, 96, 96), (25.0, 4.0, 4.0))
    found = uncertainty(phantom.image, model)
    percent = found.entropy_percent
    assert percent.geometry == phantom.image.geometry
    assert percent.array.shape == phantom.image.array.shape and percent.array.dtype == np.uint8
    assert 20 < percent.array.max() <= 100
    mask = segment(phantom.image, model).array > 0
    border = np.zeros_like(mask)
    border[:, :-1] |= mask[:, 1:] != mask[:, :-1]
    border[:, :, :-1] |= mask[:, :, 1:] != mask[:, :, :-1]
    assert percent.array[border].mean() > 3 * percent.array[~border].mean()


def test_a_noisy_scan_is_less_certain(model):
    phantom = chest_phantom(2, (8, 96, 96), (30.0, 4.0, 4.0))
    noise = np.random.default_rng(0).normal(0, 400, phantom.image.array.shape)
    noisy = phantom.image.with_array((phantom.image.array + noise).astype(np.int16))
    sure, unsure = by_name(uncertainty(phantom.image, model)), by_name(uncertainty(noisy, model))
    for name in ("right_lung", "left_lung"):
        assert 0 <= sure[name].disagreement < unsure[name].disagreement <= 1
        assert 0 <= sure[name].entropy < unsure[name].entropy <= 1


def test_a_scan_without_lungs_has_none_to_be_unsure_of(model):
    air = chest_phantom(3, (4, 64, 64), (5.0, 4.0, 4.0)).image
    air = air.with_array(np.full(air.array.shape, -1024, dtype=np.int16))
    assert {(s.entropy, s.disagreement) for s in uncertainty(air, model).structures} == {(0.0, 0.0)}


def test_a_model_without_probabilities_is_refused():
    with pytest.raises(ValueError, match="needs a network, got the model threshold"):
        uncertainty(chest_phantom(1, (2, 32, 32)).image, load_model("threshold"))


def test_entropy_is_0_where_one_class_is_certain_and_1_where_all_are_as_likely():
    certain, open_ = np.array([1.0, 0.0, 0.0]), np.array([1.0, 1.0, 1.0]) / 3
    entropy = _entropy(np.stack([certain, open_], axis=1)[np.newaxis, :, :, np.newaxis])
    np.testing.assert_allclose(entropy.ravel(), [0.0, 1.0], atol=1e-9)


def test_disagreement_is_one_minus_the_mean_dice_of_all_pairs():
    masks = np.zeros((1, 3, 2, 4), dtype=bool)
    masks[0, 0, 0] = True  # 4 pixels
    masks[0, 1, 0, :2] = True  # 2 of them
    masks[0, 2, 1] = True  # 4 others
    entropy = np.full((1, 2, 4), 0.5)
    found = _numbers("lung", _tally(masks, entropy)[0])
    assert found.disagreement == pytest.approx(1 - (2 * 2 / 6 + 0 + 0) / 3)
    assert found.entropy == pytest.approx(0.5)


def test_perturbations_are_undone_on_the_scores():
    random = np.random.default_rng(1)
    image = np.zeros((2, 64, 64), dtype=np.float32)
    image[:, 16:48, 16:48] = np.kron(random.random((2, 4, 4)), np.ones((8, 8)))
    variants = perturbations(LUNGS)
    assert [variant.name for variant in variants] == [
        "unchanged",
        "turned by +5 degrees",
        "turned by -5 degrees",
        "mirrored",
    ]
    for variant in variants:
        scores = np.stack([variant.apply(image)] * 3, axis=1)
        back = variant.undo(scores)
        assert back.shape == scores.shape
        assert np.abs(back[:, 0] - image).mean() < 0.015
    assert np.abs(variants[1].apply(image) - image).mean() > 0.02


def test_mirroring_swaps_right_and_left_and_is_left_out_where_sides_have_no_pairs():
    mirrored = perturbations(LUNGS)[-1]
    scores = np.zeros((1, 3, 2, 2), dtype=np.float32)
    scores[0, 1, 0, 0] = 1.0  # the right lung, in the mirror
    assert np.argwhere(mirrored.undo(scores)).tolist() == [[0, 2, 0, 1]]
    lobes = [Structure(1, "left_upper_lobe", (0, 0, 0)), Structure(2, "right_middle_lobe", (0, 0, 0))]
    assert len(perturbations(lobes)) == 3
