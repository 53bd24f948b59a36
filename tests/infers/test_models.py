"""Networks and weights; lungmask's own U-net is the judge of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lungmask.resunet import UNet as LungmaskUNet
from networks import lungmask_network
from safetensors.torch import save_file

from datastore.phantom import Phantom
from infers import load_model, segment
from infers.models import device_named
from infers.preprocess import Preprocessing
from infers.served_model import ServedModel
from infers.unet import UNet
from infers.weights import load_weights, save_weights


@pytest.fixture
def lungmask_file(tmp_path: Path) -> Path:
    path = tmp_path / "unet.pth"
    torch.save(lungmask_network().state_dict(), path)
    return path


def test_lungmasks_state_dict_loads_and_gives_lungmasks_output(lungmask_file: Path) -> None:
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = lungmask_network()(images)
        actual = load_weights(lungmask_file).network(images)
    assert torch.equal(actual, expected)
    assert not torch.allclose(expected, expected.mean())


def test_the_published_width_loads_too() -> None:
    state = LungmaskUNet(
        n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False
    ).state_dict()
    network = UNet()
    network.load_state_dict(state)
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(31.0e6, rel=0.1)


def test_weights_come_back_as_they_were_saved(tmp_path: Path) -> None:
    network = UNet(base_channels=4)
    path = tmp_path / "weights.safetensors"
    save_weights(network, path, Preprocessing(hu_low=-1000, size=128))
    loaded = load_weights(path)
    assert loaded.preprocessing == Preprocessing(hu_low=-1000, hu_high=600, size=128)
    assert not loaded.network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor)
    with pytest.raises(FileExistsError):
        save_weights(network, path)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("ran-code"),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("code", "cannot be read as a state dict"),
        ("text", "cannot be read"),
        ("another network", "expected the weights of a U-net, got fc.weight"),
        ("a layer too few", "do not fit the U-net"),
        ("six classes", "expected 3 classes"),
        ("not safetensors", "cannot be read as safetensors"),
    ],
)
def test_what_is_no_lung_network_is_refused(
    tmp_path: Path, kind: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "unet.pth"
    if kind == "code":
        torch.save({"last.weight": Malicious()}, path)
    elif kind == "text":
        path.write_text("hello")
    elif kind == "another network":
        path = tmp_path / "other.safetensors"
        save_file({"fc.weight": torch.zeros(2, 2)}, path)
    elif kind == "a layer too few":
        state = lungmask_network().state_dict()
        del state["down_path.0.block.0.weight"]
        torch.save(state, path)
    elif kind == "six classes":
        torch.save(lungmask_network(classes=6).state_dict(), path)
    elif kind == "not safetensors":
        path = tmp_path / "x.safetensors"
        path.write_bytes(b"\0" * 100)
    with pytest.raises(ValueError, match=message) as caught:
        load_model(path)
    assert path.name in str(caught.value)
    assert not (tmp_path / "ran-code").exists()


def test_missing_weights_and_devices_are_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such weights"):
        load_model(tmp_path / "nowhere.pth")
    with pytest.raises(ValueError, match="no device 'toaster'"):
        device_named("toaster")


def air_or_tissue_network() -> UNet:
    """A network that calls right lung whatever is darker than about -500 HU: hand-made, so that it is certain."""
    network = UNet(base_channels=2).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(1.0)
        network.down_path[0].block[0].weight[0, 0, 1, 1] = 1.0
        network.down_path[0].block[3].weight[0, 0, 1, 1] = 1.0
        network.up_path[-1].conv_block.block[0].weight[0, 2, 1, 1] = 1.0  # the bridge comes after the upsampled
        network.up_path[-1].conv_block.block[3].weight[0, 0, 1, 1] = 1.0
        network.last.weight[0, 0] = 10.0
        network.last.bias[:] = torch.tensor([0.0, 10.0 * (524 / 1624), -100.0])
    return network


def test_a_network_runs_on_every_slice_and_its_mask_lies_on_the_scan(tmp_path: Path, phantom: Phantom) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(air_or_tissue_network(), path)
    model = load_model(path, "cpu")
    assert model.version.startswith("unet-")
    mask = segment(phantom.image, model)
    assert mask.geometry is phantom.image.geometry
    lungs = phantom.lungs.array > 0
    found = mask.array == 1
    assert (found & lungs).sum() / lungs.sum() > 0.95  # all lung is dark; so are the table's air and the trachea
    assert not (mask.array == 2).any()


def test_a_published_model_is_served_and_exchanged_without_a_restart(tmp_path: Path) -> None:
    served = ServedModel(tmp_path, "cpu")
    assert served() is None
    versions = []
    for name, channels in (("v1", 2), ("v2", 4)):
        (tmp_path / name).mkdir()
        save_weights(UNet(base_channels=channels), tmp_path / name / "weights.safetensors")
        (tmp_path / "current").write_text(name)
        model = served()
        assert model is not None
        assert served() is model
        versions.append(model.version)
    assert len(set(versions)) == 2


@pytest.mark.parametrize("name", ["nosuch", "../elsewhere", ""])
def test_a_current_that_names_no_version_serves_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    save_weights(UNet(base_channels=2), tmp_path / "elsewhere" / "weights.safetensors")
    models = tmp_path / "models"
    models.mkdir()
    (models / "current").write_text(name)
    assert ServedModel(models, "cpu").weights() is None


def test_segmenting_does_not_depend_on_the_files_orientation(phantom: Phantom) -> None:
    from datastore.geometry import Geometry
    from datastore.volume import Volume

    model = load_model("threshold")
    upright = segment(phantom.image, model)
    x, y, z = phantom.image.geometry.spacing_mm
    # the same patient stored head first, left to right and with x as the slowest axis
    turned = Volume(
        np.ascontiguousarray(phantom.image.array[::-1, :, ::-1].transpose(2, 1, 0)),
        Geometry((z, y, x), (0.0, 0.0, 0.0), (0.0, 0.0, -1.0, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0)),
    )
    mask = segment(turned, model)
    np.testing.assert_array_equal(mask.array.transpose(2, 1, 0)[::-1, :, ::-1], upright.array)
    assert set(np.unique(mask.array)) == {0, 1, 2}
