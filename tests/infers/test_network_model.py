from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from lungmask import LMInferer
from lungmask.resunet import UNet as LungmaskUNet
from networks import lungmask_file, random_network

from datastore.image_files import read_ct
from datastore.phantom import chest_phantom
from datastore.volume import Volume
from infers import load_model, segment
from infers.fused_model import FusedModel
from infers.measures import measure
from infers.native import kernels
from infers.network_model import NetworkModel
from infers.options import Backend, Options, Postprocessing
from infers.preprocess import Preprocessing, preprocess
from infers.weights import BOOTSTRAP, Weights, load_weights

AS_LUNGMASK = Options(postprocess=Postprocessing.LUNGMASK)
BACKENDS = [Backend.TORCH, *([Backend.NATIVE] if kernels() else [])]
REAL = ["cip-ct64/image.nii.gz", "elastix-3dct-right/image.nii.gz", "totalseg-abdomen/image.nii.gz"]


def in_lungmask(weights: Weights) -> LungmaskUNet:
    """lungmask's own network, as narrow as ours, with the same weights."""
    network = weights.network
    width = network.base_channels.bit_length() - 1
    theirs = LungmaskUNet(
        n_classes=network.classes, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False, wf=width
    )
    theirs.load_state_dict({**theirs.state_dict(), **network.state_dict()})
    return theirs.eval()


@pytest.fixture(scope="module")
def inferer(tmp_path_factory: pytest.TempPathFactory) -> LMInferer:
    """lungmask itself, with published-size weights of a file, so that nothing is downloaded."""
    path = lungmask_file(tmp_path_factory.mktemp("weights") / "wide.pth", width=6)
    return LMInferer(modelpath=str(path), force_cpu=True, tqdm_disable=True)


@contextmanager
def carrying(inferer: LMInferer, network: LungmaskUNet, fill: LungmaskUNet | None = None) -> Iterator[LMInferer]:
    before = inferer.model, inferer.fillmodel
    inferer.model, inferer.fillmodelm, inferer.fillmodel = network, fill, "fill" if fill else None
    yield inferer
    inferer.model, inferer.fillmodel = before


def with_network(weights: Weights, options: Options) -> NetworkModel:
    return NetworkModel(weights, torch.device("cpu"), options)


def upright(volume: Volume) -> tuple[np.ndarray, tuple[float, float, float]]:
    volume = volume.to_lps()
    return np.ascontiguousarray(volume.array), volume.spacing_zyx_mm


@pytest.fixture(scope="module")
def fast() -> Weights:
    return load_weights(BOOTSTRAP)


def assert_masks_are_lungmasks(inferer: LMInferer, weights: Weights, hu: np.ndarray, spacing_mm) -> None:
    with carrying(inferer, in_lungmask(weights)) as lungmask:
        expected = lungmask.apply(hu)
    assert expected.any()
    for backend in BACKENDS:
        options = Options(postprocess=Postprocessing.LUNGMASK, backend=backend)
        np.testing.assert_array_equal(with_network(weights, options).predict(hu, spacing_mm), expected)


@pytest.mark.parametrize(
    ("seed", "shape", "spacing_mm"),
    [(1, (20, 128, 128), (15.0, 3.0, 3.0)), (2, (9, 301, 277), (30.0, 1.3, 1.2)), (3, (3, 512, 512), (8.0, 0.8, 0.8))],
)
def test_masks_are_lungmasks_on_phantoms(seed, shape, spacing_mm, fast, inferer):
    assert_masks_are_lungmasks(inferer, fast, chest_phantom(seed, shape, spacing_mm).image.array, spacing_mm)


@pytest.mark.parametrize("name", REAL)
def test_masks_are_lungmasks_on_real_scans(name, real_data, fast, inferer):
    hu, (z, y, x) = upright(read_ct(real_data / "nifti" / name))
    every = len(hu) // 20
    assert_masks_are_lungmasks(inferer, fast, np.ascontiguousarray(hu[::every]), (z * every, y, x))


@pytest.mark.parametrize("seed", range(3))
def test_masks_are_lungmasks_with_weights_that_know_nothing(seed, inferer):
    """All over the slices the classes lie close together, so rounding would show."""
    hu = chest_phantom(4, (8, 96, 96), (30.0, 4.0, 4.0)).image.array
    weights = knowing_nothing(hu, seed=seed)
    assert_masks_are_lungmasks(inferer, weights, hu, (30.0, 4.0, 4.0))


def knowing_nothing(hu: np.ndarray, seed: int, classes: int = 3) -> Weights:
    """Random weights whose classes are about as frequent as each other in a scan."""
    network = random_network(16, classes, seed)
    how = Preprocessing()
    with torch.inference_mode():
        scores = network(torch.from_numpy(preprocess(hu[::3], how).images[:, np.newaxis]))
        network.last.bias -= scores.movedim(1, 0).flatten(1).median(dim=1).values
    return Weights(network, how, f"{seed}" * 64)


@pytest.mark.slow
def test_masks_are_lungmasks_with_a_published_size_file(tmp_path, inferer):
    path = lungmask_file(tmp_path / "wide.pth", width=6)
    hu = chest_phantom(5, (5, 96, 96), (40.0, 4.0, 4.0)).image.array
    expected = inferer.apply(hu)
    np.testing.assert_array_equal(load_model(path, "cpu", AS_LUNGMASK).predict(hu, (40.0, 4.0, 4.0)), expected)


def test_the_fused_mode_gives_lungmasks_masks(fast, inferer):
    hu = chest_phantom(6, (10, 96, 96), (25.0, 4.0, 4.0)).image.array
    lobes = knowing_nothing(hu, seed=5, classes=6)
    with carrying(inferer, in_lungmask(lobes), in_lungmask(fast)) as lungmask:
        expected = lungmask.apply(hu)
    assert expected.any()
    fused = FusedModel(with_network(lobes, AS_LUNGMASK), with_network(fast, AS_LUNGMASK))
    np.testing.assert_array_equal(fused.predict(hu, (25.0, 4.0, 4.0)), expected)


@pytest.mark.parametrize("mode", [Postprocessing.LUNGMASK, Postprocessing.DEFAULT])
@pytest.mark.parametrize("cut", [slice(None), slice(25, 50), slice(38, None), slice(0, 40)])
def test_skipping_slices_changes_no_mask(mode, cut, fast):
    """A long field of view; lungs that touch the first slice, the last, both."""
    hu = chest_phantom(7, (80, 96, 96), (7.0, 4.0, 4.0)).image.array[cut]
    skipping, looking = (with_network(fast, Options(postprocess=mode, skip=skip)) for skip in (True, False))
    expected = looking.predict(hu, (7.0, 4.0, 4.0))
    assert expected.any()
    np.testing.assert_array_equal(skipping.predict(hu, (7.0, 4.0, 4.0)), expected)


def test_skipping_spares_the_network_most_of_a_long_scan(fast, monkeypatch):
    hu = chest_phantom(7, (220, 96, 96), (5.0, 4.0, 4.0)).image.array
    model = with_network(fast, Options())
    seen = []
    logits = model.backend.logits
    monkeypatch.setattr(type(model.backend), "logits", lambda _self, images: seen.append(len(images)) or logits(images))
    assert model.predict(hu, (5.0, 4.0, 4.0)).any()
    assert sum(seen) < 150


@pytest.mark.parametrize("options", [Options(), AS_LUNGMASK, Options(smooth=True), Options(skip=False)])
@pytest.mark.parametrize("slices", [1, 2, 3])
def test_scans_of_very_few_slices(options, slices, fast):
    phantom = chest_phantom(8, (slices, 128, 128), (8.0, 3.0, 3.0))
    mask = with_network(fast, options).predict(phantom.image.array, (8.0, 3.0, 3.0))
    both = np.count_nonzero((mask > 0) & (phantom.lungs.array > 0))
    assert 2 * both / (np.count_nonzero(mask) + np.count_nonzero(phantom.lungs.array)) > 0.8


@pytest.mark.parametrize("options", [Options(), Options(postprocess=Postprocessing.PAPER), Options(smooth=True)])
@pytest.mark.parametrize("value_hu", [-1024, -3024, 0, 3071])
def test_a_scan_of_nothing_has_no_lungs(options, value_hu, fast):
    hu = np.full((12, 64, 64), value_hu, dtype=np.int16)
    mask = with_network(fast, options).predict(hu, (5.0, 4.0, 4.0))
    assert mask.shape == hu.shape and not mask.any()


def test_lungs_cut_off_on_all_sides_are_found_and_said_to_be_cut_off(fast):
    phantom = chest_phantom(9, (40, 160, 160), (5.0, 2.5, 2.5))
    inside = (slice(10, 28), slice(48, 111), slice(31, 129))
    hu, truth = (np.ascontiguousarray(volume.array[inside]) for volume in (phantom.image, phantom.lungs))
    assert all(truth.take(end, axis).any() for axis in range(3) for end in (0, -1))
    scan = Volume(hu, phantom.image.geometry)
    model = with_network(fast, Options())
    mask = segment(scan, model)
    assert np.count_nonzero((mask.array > 0) & (truth > 0)) > 0.95 * np.count_nonzero(truth)
    touched = {side for found in measure(scan, mask, model.structures) for side in found.touches}
    assert touched >= {"lowest slice", "highest slice", "left border of the slices", "right border of the slices"}


def test_smooth_masks_have_fewer_steps(fast):
    phantom = chest_phantom(10, (12, 512, 512), (25.0, 0.8, 0.8))
    raw, smooth = (
        with_network(fast, Options(postprocess=Postprocessing.NONE, smooth=smooth)).predict(
            phantom.image.array, (25.0, 0.8, 0.8)
        )
        for smooth in (False, True)
    )
    stairs = [
        np.count_nonzero(np.diff(mask > 0, axis=1)) + np.count_nonzero(np.diff(mask > 0)) for mask in (raw, smooth)
    ]
    assert np.count_nonzero(raw != smooth) < 0.02 * np.count_nonzero(raw)
    assert stairs[0] != stairs[1]


def test_options_that_change_masks_are_in_the_version(fast):
    versions = {
        with_network(fast, options).version
        for options in (
            Options(),
            Options(smooth=True),
            Options(skip=False),
            AS_LUNGMASK,
            Options(postprocess=Postprocessing.PAPER),
        )
    }
    assert len(versions) == 5
    assert with_network(fast, Options(threads=1)).version == with_network(fast, Options()).version


def test_smooth_and_lungmask_exclude_each_other():
    with pytest.raises(ValueError, match="smooth"):
        Options(postprocess=Postprocessing.LUNGMASK, smooth=True)


def test_a_mask_in_another_orientation_is_the_same(fast):
    phantom = chest_phantom(11, (20, 96, 96), (12.0, 4.0, 4.0))
    model = with_network(fast, Options())
    expected = segment(phantom.image, model)
    turned = phantom.image.with_array(phantom.image.array)
    np.testing.assert_array_equal(segment(turned, model).array, expected.array)


def test_the_mask_does_not_depend_on_the_number_of_threads(fast):
    hu = chest_phantom(12, (20, 96, 96), (12.0, 4.0, 4.0)).image.array
    masks = [with_network(fast, Options(threads=threads)).predict(hu, (12.0, 4.0, 4.0)) for threads in (1, 2, 5)]
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])


def test_weights_of_lungmask_run_from_a_path(tmp_path: Path):
    model = load_model(lungmask_file(tmp_path / "narrow.pth", width=4), "cpu")
    assert model.predict(np.zeros((2, 64, 64), dtype=np.int16), (5.0, 1.0, 1.0)).shape == (2, 64, 64)
