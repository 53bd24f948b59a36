"""Files of state dicts that are damaged, or made to harm."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import lungmask_file, lungmask_network
from torch import Tensor

from infers.state_dict import network_of, read_state_dict


@pytest.fixture
def state() -> dict[str, Tensor]:
    return dict(lungmask_network(width=1).state_dict())


@pytest.mark.parametrize("zipped", [True, False])
def test_both_formats_of_torch_are_read(tmp_path: Path, state: dict[str, Tensor], zipped: bool) -> None:
    path = tmp_path / "unet.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    found = read_state_dict(path)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_file_cut_short_is_refused_in_one_line(
    tmp_path: Path, state: dict[str, Tensor], share: float, zipped: bool
) -> None:
    path = tmp_path / "unet.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="cannot be read as a state dict of tensors alone") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)


def test_a_compressed_file_is_not_even_unpacked(tmp_path: Path) -> None:
    plain, packed = lungmask_file(tmp_path / "plain.pth"), tmp_path / "packed.pth"
    with zipfile.ZipFile(plain) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for item in source.namelist():
            target.writestr(item, source.read(item))
    with pytest.raises(ValueError, match="cannot be read as a state dict"):
        read_state_dict(packed)


def test_tensors_that_claim_more_than_the_file_holds_are_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "unet.pth"
    state["last.weight"] = torch.zeros(1).expand(3, 10**9, 1, 1)  # one number, shown a few billion times
    torch.save(state, path)
    assert path.stat().st_size < 1e6
    with pytest.raises(ValueError, match="larger than the file"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "got list"),
        ({"state_dict": {"a": torch.zeros(1)}}, "got state_dict: dict"),
        ({"epoch\x1b[2J": 3}, r"got epoch \[2J: int"),
        ({3: torch.zeros(1)}, "got 3: Tensor"),
    ],
)
def test_anything_but_tensors_by_name_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "unet.pth")
    with pytest.raises(ValueError, match=message):
        read_state_dict(tmp_path / "unet.pth")


def changed(change: Callable[[dict[str, Tensor]], Any], state: dict[str, Tensor]) -> dict[str, Tensor]:
    change(state)
    return state


FIRST = "down_path.0.block.0.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.clear(), "expected the weights of a U-net, got nothing"),
        (lambda state: state.update({"last.weight": torch.zeros(3)}), "expected the weights of a U-net, got down_path"),
        (lambda state: state.update({"last.weight": torch.zeros(1, 2, 1, 1)}), "expected 2 to 256 classes, got 1"),
        (lambda state: state.update({"last.weight": torch.zeros(999, 2, 1, 1)}), "expected 2 to 256 classes, got 999"),
        (lambda state: state.update({"last.weight": torch.zeros(3, 0, 1, 1)}), "got 3 of 0 channels"),
        (lambda state: state.update({"last.weight": torch.zeros(3, 4, 1, 1)}), "expected shape"),
        (lambda state: state.update({FIRST: torch.zeros(2, 3, 3, 3)}), r"expected shape \(2, 1, 3, 3\) of down_path.0"),
        (lambda state: state.pop(FIRST), f"{FIRST} is missing"),
        (lambda state: state.update({"up_path.4.up.1.weight": torch.zeros(1)}), "which has no up_path.4"),
        *(
            (lambda state, value=value: state[FIRST].view(-1)[-1].fill_(value), f"{FIRST} holds values that are not")
            for value in (float("nan"), float("inf"), -float("inf"))
        ),
        (lambda state: state.update({FIRST: torch.zeros(2, 1, 3, 3, dtype=torch.int8)}), "floating point numbers"),
        (lambda state: state.update({FIRST: torch.zeros(2, 1, 3, 3).cfloat()}), "expected plain numbers"),
        (lambda state: state.update({FIRST: torch.zeros(2, 1, 3, 3).to_sparse()}), "expected plain numbers"),
        (lambda state: state.update({FIRST: torch.zeros(2, 1, 3, 3, device="meta")}), "expected plain numbers"),
    ],
)
def test_what_is_no_unet_is_refused(
    state: dict[str, Tensor], change: Callable[[dict[str, Tensor]], Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        network_of(changed(change, state))


def test_a_hostile_shape_takes_no_memory() -> None:
    huge = torch.empty(3, 10**7, 1, 1, device="meta")
    with pytest.raises(ValueError, match="is missing"):
        network_of({"last.weight": huge})


def test_files_from_before_the_batch_counters_load(state: dict[str, Tensor]) -> None:
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(state)
    network = network_of(old)
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


def test_the_network_has_memory_of_its_own_and_can_be_trained(state: dict[str, Tensor]) -> None:
    network = network_of(state)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for tensor in state.values():
        tensor.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())
    network(torch.zeros(1, 1, 16, 16)).sum().backward()
