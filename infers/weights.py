"""Weights on disk: safetensors with what the model needs beside them, or a state dict of lungmask (.pth).

Nothing that could run code is ever loaded: safetensors cannot, and .pth files are opened with
`weights_only=True`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from datastore.atomic import atomic_path, sha256_of
from infers.preprocess import Preprocessing
from infers.unet import UNet

METADATA_KEY = "lungapp"


@dataclass(frozen=True, eq=False)
class Weights:
    """A network ready to run, and what it needs to be fed.

    Attributes:
        network: In evaluation mode, on the CPU.
        preprocessing: How its input is made.
        sha256: Of the file.
    """

    network: UNet
    preprocessing: Preprocessing
    sha256: str


def load_weights(path: Path) -> Weights:
    """The network in a file.

    Args:
        path: `.safetensors` of ours, or `.pth` with a state dict of lungmask's U-net.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it holds no U-net; the message says what came instead.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights")
    state, preprocessing = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pth(path)
    if "last.weight" not in state or state["last.weight"].ndim != 4:
        raise ValueError(f"{path}: expected the weights of a U-net, got {_some(state)}")
    classes, base_channels = state["last.weight"].shape[:2]
    network = UNet(classes=int(classes), base_channels=int(base_channels))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: the weights do not fit the U-net: {reason}") from error
    return Weights(network.eval(), preprocessing, sha256_of(path))


def save_weights(network: UNet, path: Path, preprocessing: Preprocessing = Preprocessing()) -> None:
    """Write a network as safetensors, atomically; an existing file is left as it is.

    Raises:
        FileExistsError: If the file is there already.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    metadata = {METADATA_KEY: json.dumps({"architecture": "unet", "preprocessing": asdict(preprocessing)})}
    with atomic_path(path) as temporary:
        save_file(state, temporary, metadata)


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Preprocessing]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(METADATA_KEY)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: cannot be read as safetensors: {error}") from error
    if metadata is None:
        return state, Preprocessing()
    try:
        return state, Preprocessing(**json.loads(metadata)["preprocessing"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: damaged metadata: {error}") from error


def _read_pth(path: Path) -> tuple[dict[str, Tensor], Preprocessing]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises about anything on other files, and advises to load code
        raise ValueError(f"{path}: cannot be read as a state dict of tensors alone ({type(error).__name__})") from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise ValueError(f"{path}: expected a state dict of tensors by name, got {type(state).__name__}")
    return state, Preprocessing()


def _some(state: dict[str, Tensor]) -> str:
    names = sorted(state)
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "") if names else "nothing"
