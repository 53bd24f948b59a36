from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lungmask.resunet import UNet as LungmaskUNet
from networks import lungmask_file, lungmask_network
from safetensors.torch import load_file, save_file

from datastore.atomic import sha256_of
from datastore.labels import LOBES, LUNGS, Structure
from infers import published
from infers.preprocess import Preprocessing
from infers.unet import UNet
from infers.weights import METADATA_KEY, load_weights, save_weights
from infers.weights_metadata import Origin

TISSUE = (Structure(1, "vessel", (1.0, 0.0, 0.0)), Structure(2, "airway", (0.0, 0.0, 1.0)))


def test_everything_about_weights_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    network, path = UNet(classes=3, base_channels=2), tmp_path / "some.safetensors"
    how, origin = Preprocessing(hu_low=-1000, hu_high=400, size=128), Origin("a.pth", "0a" * 32)
    save_weights(network, path, how, structures=TISSUE, name="tissue-1", origin=origin)
    loaded = load_weights(path)
    assert (loaded.preprocessing, loaded.structures, loaded.name, loaded.origin) == (how, TISSUE, "tissue-1", origin)
    assert loaded.sha256 == sha256_of(path)
    assert loaded.version == f"unet-{loaded.sha256[:12]}"
    assert not loaded.network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor)


def test_saving_the_same_weights_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    network = UNet(base_channels=2)
    for name in ("a", "b"):
        save_weights(network, tmp_path / f"{name}.safetensors", name="x")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_files_from_before_label_maps_still_load(tmp_path: Path) -> None:
    path, state = tmp_path / "old.safetensors", UNet(base_channels=2).state_dict()
    plain = {"architecture": "unet", "preprocessing": {"hu_low": -1000, "hu_high": 600, "size": 128}}
    for metadata, how in ((None, Preprocessing()), ({METADATA_KEY: json.dumps(plain)}, Preprocessing(-1000, 600, 128))):
        save_file(state, path, metadata)
        loaded = load_weights(path)
        assert (loaded.structures, loaded.preprocessing, loaded.name) == (LUNGS, how, "old")
        assert loaded.origin is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_load_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    state = UNet(base_channels=2).state_dict()
    other = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    save_file(other, tmp_path / "x.safetensors")
    torch.save(other, tmp_path / "x.pth")
    for path in (tmp_path / "x.safetensors", tmp_path / "x.pth"):
        loaded = load_weights(path).network.state_dict()
        for name, tensor in state.items():
            assert loaded[name].dtype == tensor.dtype
            assert torch.equal(loaded[name], other[name].to(tensor.dtype))


def test_what_six_classes_mean_has_to_be_said(tmp_path: Path) -> None:
    path = lungmask_file(tmp_path / "mine.pth", classes=6)
    with pytest.raises(ValueError, match="nothing says what they mean.*lungapp models import mine.pth --labels lobes"):
        load_weights(path)
    assert load_weights(path, LOBES).structures == LOBES
    with pytest.raises(ValueError, match="expected labels 1 to 5"):
        load_weights(path, LUNGS)
    save_file(UNet(classes=6, base_channels=2).state_dict(), tmp_path / "mine.safetensors")
    with pytest.raises(ValueError, match="nothing says what they mean"):
        load_weights(tmp_path / "mine.safetensors")


def test_six_classes_are_lobes_if_the_file_is_named_like_the_published_one(tmp_path: Path) -> None:
    loaded = load_weights(lungmask_file(tmp_path / "unet_ltrclobes-3a07043d.pth", classes=6))
    assert (loaded.structures, loaded.name) == (LOBES, "LTRCLobes")
    assert load_weights(lungmask_file(tmp_path / "old-3a07043d.pth", classes=3)).structures == LUNGS
    with pytest.raises(ValueError, match="expected 3 classes"):
        load_weights(lungmask_file(tmp_path / "unet_r231-d5d2fc3d.pth", classes=6))


def test_a_published_file_is_known_by_its_checksum_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lungmask_file(tmp_path / "download(3).pth", classes=6)
    model = published.PublishedModel("Lobes9", f"lobes-{sha256_of(path)[:8]}.pth", LOBES, "Lobes.")
    monkeypatch.setattr(published, "PUBLISHED", (model,))
    assert (load_weights(path).structures, load_weights(path).name) == (LOBES, "Lobes9")
    with pytest.raises(ValueError, match="the file has 1 left_upper_lobe"):
        load_weights(path, LUNGS)


def test_what_a_file_says_of_its_labels_cannot_be_overruled(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(UNet(base_channels=2), path, structures=TISSUE)
    with pytest.raises(ValueError, match="expected labels 1 right_lung, 2 left_lung, the file has 1 vessel, 2 airway"):
        load_weights(path, LUNGS)


def test_weights_are_not_saved_without_a_label_for_each_class(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected labels 1 to 5 for a network of 6 classes"):
        save_weights(UNet(classes=6, base_channels=2), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "how", [{"name": "my run 1"}, {"preprocessing": Preprocessing(size=100)}, {"origin": Origin("a.pth", "x")}]
)
def test_what_could_not_be_loaded_again_is_not_saved(tmp_path: Path, how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        save_weights(UNet(base_channels=2), tmp_path / "a.safetensors", **how)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{", "damaged metadata"),
        ("[" * 100_000, "damaged metadata"),
        ('{"preprocessing": {"size": 1e99}}', "damaged metadata: preprocessing: expected a whole number"),
        ('{"structures": [{"value": 1, "name": "a", "colour": [0, 0, 0]}]}', "expected labels 1 to 2"),
    ],
)
def test_damaged_metadata_is_refused(tmp_path: Path, metadata: str, message: str) -> None:
    path = tmp_path / "a.safetensors"
    save_file(UNet(base_channels=2).state_dict(), path, {METADATA_KEY: metadata})
    with pytest.raises(ValueError, match=message) as caught:
        load_weights(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_safetensors_cut_short_are_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(UNet(base_channels=2), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        load_weights(path)


def test_the_network_stays_as_it_is_when_its_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(UNet(base_channels=2), path)
    network = load_weights(path).network
    before = network.last.weight.detach().clone()
    with open(path, "r+b") as file:
        file.seek(-path.stat().st_size // 2, 2)
        file.write(b"\0" * (path.stat().st_size // 2))
    assert torch.equal(network.last.weight, before)


def test_the_published_width_makes_the_round_trip(tmp_path: Path) -> None:
    state = LungmaskUNet(
        n_classes=6, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False
    ).state_dict()
    pth, saved = tmp_path / "unet_ltrclobes-3a07043d.pth", tmp_path / "a.safetensors"
    torch.save(state, pth)
    weights = load_weights(pth)
    save_weights(weights.network, saved, structures=weights.structures)
    used = {name: tensor for name, tensor in state.items() if ".residual_" not in name}
    assert sum(tensor.numel() for tensor in used.values()) == pytest.approx(31.0e6, rel=0.1)
    for found in (weights.network.state_dict(), load_file(saved), load_weights(saved).network.state_dict()):
        assert found.keys() == used.keys()
        assert all(torch.equal(found[name], used[name]) for name in used)


def test_imported_weights_say_what_lungmasks_network_says(tmp_path: Path) -> None:
    path = lungmask_file(tmp_path / "unet_ltrclobes-3a07043d.pth", classes=6, width=2)
    images = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    weights = load_weights(path)
    save_weights(weights.network, tmp_path / "a.safetensors", structures=LOBES)
    with torch.inference_mode():
        expected = lungmask_network(width=2, classes=6)(images)
        assert torch.equal(load_weights(tmp_path / "a.safetensors").network(images), expected)
