"""State dicts: tensors by name, from files that anybody may have made, and the U-net that they are."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from torch import Tensor

from datastore.wording import printable
from infers.unet import UNet

MOST_CLASSES = 256  # masks are uint8
COUNTER = ".num_batches_tracked"  # of batch normalisation; not needed, and absent from old files


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors in a file that `torch.save` wrote; no code in it is run.

    Raises:
        ValueError: If there is anything else in it.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:  # a small compressed file could fill the memory
                if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                    raise ValueError("compressed")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises about anything on other files, and advises to load code
        raise ValueError(f"cannot be read as a state dict of tensors alone ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise ValueError(f"expected a state dict of tensors by name, got {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(
                f"expected a state dict of tensors by name, got {printable(str(name))[:60]}: {type(value).__name__}"
            )
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > path.stat().st_size:
        raise ValueError("its tensors are larger than the file")
    return state


def network_of(state: dict[str, Tensor]) -> UNet:
    """The U-net of a state dict, in evaluation mode and in float32, with memory of its own.

    Args:
        state: In any floating point type; names of lungmask's unused layers may be among them.

    Raises:
        ValueError: If it is none, or holds values that are not finite.
    """
    last = state.get("last.weight")
    if last is None or last.ndim != 4:
        raise ValueError(f"expected the weights of a U-net, got {_some(state)}")
    classes, base_channels = last.shape[:2]
    if not (2 <= classes <= MOST_CLASSES and base_channels):
        raise ValueError(f"expected 2 to {MOST_CLASSES} classes, got {classes} of {base_channels} channels")
    with torch.device("meta"):  # no memory: the numbers of classes and channels are only what the file says
        network = UNet(classes=classes, base_channels=base_channels)
    used = {name: tensor for name, tensor in state.items() if ".residual_" not in name}
    _check_fit(used, network.state_dict())
    network.load_state_dict({name: _checked(name, tensor) for name, tensor in used.items()}, assign=True)
    return network.eval()


def _check_fit(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, tensor in expected.items():
        if name not in state:
            if name.endswith(COUNTER):
                continue
            raise ValueError(f"the weights do not fit the U-net: {name} is missing")
        if state[name].shape != tensor.shape:
            raise ValueError(
                f"the weights do not fit the U-net: expected shape {tuple(tensor.shape)} of {name}, got "
                f"{tuple(state[name].shape)}"
            )
    if beyond := {name: tensor for name, tensor in state.items() if name not in expected}:
        raise ValueError(f"the weights do not fit the U-net, which has no {_some(beyond)}")


def _checked(name: str, tensor: Tensor) -> Tensor:
    """A copy of a tensor: safetensors gives views of the file, which may change or go."""
    if tensor.device.type != "cpu" or tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex():
        raise ValueError(f"expected plain numbers in {name}, got {tensor.dtype} on {tensor.device}")
    if name.endswith(COUNTER):
        return tensor.detach().to(torch.int64, copy=True)
    if not tensor.is_floating_point():
        raise ValueError(f"expected floating point numbers in {name}, got {tensor.dtype}")
    copy = tensor.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    lowest, highest = torch.aminmax(copy)  # ten times as fast as looking at each; a NaN becomes both
    if not (lowest.isfinite() and highest.isfinite()):
        raise ValueError(f"{name} holds values that are not finite")
    return copy


def _some(state: dict[str, Tensor]) -> str:
    names = [printable(name)[:60] for name in sorted(state)[:3]]
    return ", ".join(names) + (" ..." if len(state) > 3 else "") if names else "nothing"
