from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from networks import random_network
from torch import nn

from infers.backends import NetworkBackend, backend_for
from infers.native import aligned, kernels
from infers.native_unet import NativeUNet, can_run
from infers.options import Backend, Options
from infers.torch_unet import TorchUNet
from infers.unet import UNet

CPU = torch.device("cpu")
SIZE = 64
LANES = [lanes for lanes in (16, 8) if (here := kernels()) is not None and lanes <= here.lanes]


def exact_log_probabilities(network: UNet, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        result = network.double()(torch.from_numpy(images[:, np.newaxis]).double()).numpy()
    network.float()
    return np.asarray(result)


def log_probabilities(scores: np.ndarray) -> np.ndarray:
    return np.asarray(torch.log_softmax(torch.from_numpy(scores), dim=1))


def some_images(count: int, size: int = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, size, size), dtype=np.float32)


@pytest.fixture(params=["torch", *LANES])
def make_backend(request: pytest.FixtureRequest):
    def make(network: UNet, size: int = SIZE, batch: int = 2) -> NetworkBackend:
        if request.param == "torch":
            return TorchUNet(network, size, CPU)
        return NativeUNet(network, size, batch=batch, compiled=kernels(request.param))

    return make


@pytest.mark.parametrize(("base_channels", "classes"), [(16, 3), (32, 6)])
def test_a_backend_gives_the_networks_scores(make_backend, base_channels, classes):
    network = random_network(base_channels, classes)
    images = some_images(3)
    backend = make_backend(network)
    found = log_probabilities(backend.logits(images))
    np.testing.assert_allclose(found, exact_log_probabilities(network, images), atol=3e-6, rtol=0)


def test_a_slices_scores_do_not_depend_on_the_slices_beside_it(make_backend):
    images = some_images(5)
    backend = make_backend(random_network())
    together = backend.logits(images)
    for index in range(5):
        alone = backend.logits(images[index : index + 1])[0]
        if isinstance(backend, NativeUNet):
            np.testing.assert_array_equal(alone, together[index])
        else:
            np.testing.assert_allclose(alone, together[index], atol=1e-6)  # oneDNN sums in another order


def test_the_papers_widths_and_size(make_backend):
    network = random_network(base_channels=64)
    images = some_images(1, 256)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images[:, np.newaxis])).numpy()
    found = log_probabilities(make_backend(network, 256).logits(images))
    np.testing.assert_allclose(found, expected, atol=5e-6)


def test_the_border_of_an_image_counts_as_in_torch(make_backend):
    network = random_network(seed=3)
    images = np.zeros((1, SIZE, SIZE), dtype=np.float32)
    images[0, 0, :], images[0, -1, :], images[0, :, 0], images[0, :, -1] = 1.0, 0.5, 0.7, 0.2
    found = log_probabilities(make_backend(network).logits(images))
    np.testing.assert_allclose(found, exact_log_probabilities(network, images), atol=3e-6)


def test_weights_too_large_to_keep_transformed_are_transformed_as_they_are_used(monkeypatch, make_backend):
    monkeypatch.setattr("infers.native_unet.LARGEST_TRANSFORMED", 0)
    network, images = random_network(), some_images(3)
    found = log_probabilities(make_backend(network).logits(images))
    np.testing.assert_allclose(found, exact_log_probabilities(network, images), atol=3e-6)


@pytest.mark.skipif(not LANES, reason="the compiled kernels do not run here")
def test_threads_share_one_native_network():
    backend = NativeUNet(random_network(), SIZE, workers=2)
    images = some_images(8)
    expected = backend.logits(images)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(backend.logits, [images] * 8))
    for scores in found:
        np.testing.assert_array_equal(scores, expected)


@pytest.mark.skipif(not LANES, reason="the compiled kernels do not run here")
def test_the_kernels_say_what_they_cannot_run():
    compiled = kernels()
    assert compiled is not None
    assert can_run(random_network(16), 64, compiled)
    assert not can_run(random_network(4), 64, compiled)
    assert not can_run(random_network(16), 80, compiled)  # 5 x 5 pixels on the lowest level
    with pytest.raises(ValueError, match="do not run this network"):
        NativeUNet(random_network(4), 64)
    with pytest.raises(ValueError, match="lanes"):
        kernels(32)


def test_the_fastest_backend_that_fits_is_taken():
    narrow, wide = random_network(4), random_network(16)
    assert backend_for(narrow, SIZE, CPU, Options()).name == "torch-cpu"
    assert backend_for(wide, SIZE, CPU, Options(backend=Backend.TORCH)).name == "torch-cpu"
    expected = {16: "native-avx512", 8: "native-avx2"}.get(max(LANES, default=0), "torch-cpu")
    assert backend_for(wide, SIZE, CPU, Options()).name == expected
    with pytest.raises(ValueError, match="native backend needs"):
        backend_for(narrow, SIZE, CPU, Options(backend=Backend.NATIVE))


def test_without_the_compiled_part_torch_does_the_work(monkeypatch):
    monkeypatch.setattr("infers.backends.kernels", lambda: None)
    assert backend_for(random_network(16), SIZE, CPU, Options()).name == "torch-cpu"


def test_arrays_for_the_kernels_begin_on_a_cache_line():
    for shape in ((1,), (3, 5), (1000, 17)):
        array = aligned(shape)
        assert array.ctypes.data % 64 == 0
        assert array.shape == shape and array.flags.c_contiguous


def test_a_batch_normalisation_that_scales_by_nothing_gives_its_shift(make_backend):
    network = random_network()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data[::3] = 0.0
    images = some_images(1)
    found = log_probabilities(make_backend(network).logits(images))
    np.testing.assert_allclose(found, exact_log_probabilities(network, images), atol=3e-6)
