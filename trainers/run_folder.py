"""What lies beside a checkpoint: how the training can be repeated, and its curves."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datastore.atomic import write_bytes
from trainers.progress import Progress
from trainers.slices import SliceSet

CONFIG_FILE, EVENTS_FOLDER = "config.json", "events"
LIBRARIES = "lungapp", "torch", "numpy", "scipy", "monai"
CURVES = "loss", "watched_dice", "slices_per_s", "waited_share"


def write_config(folder: Path, training: Mapping[str, Any], device: torch.device, processes: int, step: int) -> None:
    """Write `config.json`: the training, and each time that it was begun or gone on with.

    Args:
        folder: Of the run.
        training: What tells this training from others, as JSON can hold it.
        device: Where it runs now.
        processes: In how many.
        step: Where it goes on now.
    """
    path = folder / CONFIG_FILE
    session = {
        "began_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": step,
        "device": device_name(device),
        "processes": processes,
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "commit": commit(),
    }
    before = json.loads(path.read_text()) if path.is_file() else {}
    wanted = json.loads(json.dumps(training))
    earlier = before["sessions"] if before.get("training") == wanted else []
    content = {"training": wanted, "sessions": [*earlier, session]}
    write_bytes(path, json.dumps(content, indent=2).encode(), overwrite=True)


def versions() -> dict[str, str]:
    """Of Python and the libraries that a training's outcome depends on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit(here: Path = Path(__file__).resolve()) -> str | None:
    """The git commit of this code, with `+` where files differ from it; None where it is not under git."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here.parent), *words], capture_output=True, text=True, check=True, timeout=20
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # an environment may lie within somebody else's repository
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def device_name(device: torch.device) -> str:
    """For people: `cpu`, or a GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def weights_sha256(network: nn.Module) -> str:
    """Of names and values of all weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def slices_summary(slices: SliceSet) -> dict[str, Any]:
    """Counts, and a checksum of which slices have lung: enough to notice that others are there."""
    return {
        "slices": len(slices),
        "with_lung": int(slices.has_lung.sum()),
        "size": slices.size,
        "has_lung_sha256": hashlib.sha256(slices.has_lung.tobytes()).hexdigest(),
    }


@contextmanager
def curves(folder: Path | None, step: int) -> Iterator[Callable[[Progress, float], None]]:
    """Takes progress and learning rate at the end of each epoch, as curves for TensorBoard; they are on disk at once.

    Args:
        folder: Of the run; None draws nothing.
        step: Where it goes on; what an interrupted run wrote beyond that no longer shows.
    """
    if folder is None:
        yield lambda _progress, _rate: None
        return
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / EVENTS_FOLDER), purge_step=step + 1)

    def draw(progress: Progress, rate: float) -> None:
        for name, value in (("learning_rate", rate), *((name, getattr(progress, name)) for name in CURVES)):
            if value is not None:
                writer.add_scalar(name, value, progress.step)
        writer.flush()

    try:
        yield draw
    finally:
        writer.close()
