"""lungmask and lungapp side by side: the same weights, the same files, from reading to the written mask.

    python benchmarks/inference.py [--quick] [--json] [--weights unet_r231.pth]

Each run is a process of its own, so that its peak memory is its own; programs take turns, ratios are medians over the
turns. Imports are not timed, loading the weights is. Without --weights the network has the paper's widths and the
function of the network that lungapp ships for `--preset fast`: each of its channels four times, so masks look like
lungs, which matters to what follows the network.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

REPOSITORY = Path(__file__).resolve().parents[1]
SHIPPED = REPOSITORY / "infers" / "shipped" / "fast.safetensors"
OURS = {
    "native": ["--postprocess", "lungmask", "--backend", "native"],
    "torch": ["--postprocess", "lungmask", "--backend", "torch"],
    "default": [],
    "fast": ["--preset", "fast"],
}
if torch.cuda.is_available():
    OURS |= {"gpu": ["--device", "cuda"], "gpu_half": ["--device", "cuda", "--half"]}


def run_lungmask(scan: Path, out: Path, weights: Path, _options: list[str]) -> float:
    import SimpleITK as sitk
    from lungmask import LMInferer, utils

    start = time.perf_counter()
    image = utils.load_input_image(str(scan), disable_tqdm=True)
    mask = LMInferer(modelpath=str(weights), force_cpu=True, tqdm_disable=True).apply(image)
    written = sitk.GetImageFromArray(mask)
    written.CopyInformation(image)
    sitk.WriteImage(written, str(out), True)
    return time.perf_counter() - start


def run_lungapp(scan: Path, out: Path, weights: Path, options: list[str]) -> float:
    from click.testing import CliRunner

    import infers.network_model  # noqa: F401  (imports are not timed)
    import lungapp.segmenting  # noqa: F401
    from lungapp.cli import main

    model = [] if "--preset" in options else ["--model", str(weights)]
    start = time.perf_counter()
    result = CliRunner().invoke(main, ["segment", str(scan), "-o", str(out), "--overwrite", *model, *options])
    seconds = time.perf_counter() - start
    if result.exit_code:
        raise SystemExit(result.output)
    return seconds


def child(arguments: argparse.Namespace) -> None:
    """One program on one scan, in a process of its own."""
    run = run_lungmask if arguments.child == "lungmask" else run_lungapp
    seconds = run(arguments.scan, arguments.out, arguments.weights, OURS.get(arguments.child, []))
    print(json.dumps({"seconds": seconds, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def measured(program: str, scan: Path, out: Path, weights: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", program, "--scan", scan, "--out", out, "--weights", weights]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program} failed:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(
    programs: list[str], scan: Path, weights: Path, folder: Path, turns: int
) -> dict[str, dict[str, float | int]]:
    """Medians of each program, with its ratios to lungmask, turn by turn."""
    runs: dict[str, list[dict[str, float]]] = {program: [] for program in programs}
    for _ in range(turns):
        for program in programs:
            runs[program].append(measured(program, scan, folder / f"{program}.nii.gz", weights))
    masks = {program: read(folder / f"{program}.nii.gz") for program in programs}
    found = {}
    for program in programs:
        faster = [b["seconds"] / o["seconds"] for b, o in zip(runs["lungmask"], runs[program], strict=True)]
        found[program] = {
            "seconds": statistics.median(run["seconds"] for run in runs[program]),
            "times_lungmask": statistics.median(faster),
            "peak_mib": statistics.median(run["peak_mib"] for run in runs[program]),
            "voxels": masks[program].size,
            "lung_voxels": int(np.count_nonzero(masks[program])),
            "differing_voxels": int(np.count_nonzero(masks[program] != masks["lungmask"])),
        }
    return found


def read(path: Path) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def write_phantom(path: Path, slices: int, spacing_z_mm: float, seed: int) -> Path:
    from datastore.nifti import write_nifti
    from datastore.phantom import chest_phantom

    pixel_mm = 400 / 512
    phantom = chest_phantom(seed, (slices, 512, 512), (spacing_z_mm, pixel_mm, pixel_mm))
    write_nifti(phantom.image, path)
    return path


def wide_weights(path: Path) -> Path:
    """The shipped network with each of its channels several times, up to the paper's 64: the same function."""
    from infers.unet import UNet
    from infers.weights import load_weights

    narrow = load_weights(SHIPPED).network
    wide = UNet(narrow.classes, 64)
    times = 64 // narrow.base_channels
    state = {}
    for name, target in wide.state_dict().items():
        source = narrow.state_dict()[name]
        if source.ndim >= 1 and len(source) != len(target):
            source = source.repeat_interleave(times, dim=0)
        if source.ndim == 4 and source.shape[1] != target.shape[1]:
            source = source.repeat_interleave(times, dim=1) / times
        state[name] = source
    wide.load_state_dict(state)
    torch.save(_as_lungmask(wide.state_dict()), path)
    return path


def _as_lungmask(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """lungmask's module demands the layers of a residual variant that it never runs."""
    from lungmask.resunet import UNet

    expected = UNet(
        n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False
    ).state_dict()
    return {name: state.get(name, tensor) for name, tensor in expected.items()}


def network_alone(weights: Path, turns: int) -> dict[str, float]:
    """The network against the machine's own matrix product, both on all cores."""
    from infers.backends import backend_for
    from infers.options import Backend, Options
    from infers.weights import load_weights

    network = load_weights(weights).network
    operations = 2 * sum(_multiplications(network))
    found = {"gflop_per_slice": operations / 1e9, "matrix_product_gflops": _matrix_product(turns)}
    images = np.random.default_rng(0).random((8, 256, 256), dtype=np.float32)
    for name in (Backend.NATIVE, Backend.TORCH):
        backend = backend_for(network, 256, torch.device("cpu"), Options(backend=name))
        seconds = []
        for _ in range(turns + 1):
            start = time.perf_counter()
            _all_cores(backend, images)
            seconds.append((time.perf_counter() - start) / len(images))
        rate = operations / statistics.median(seconds[1:]) / 1e9
        found[f"{name}_seconds_per_slice"] = statistics.median(seconds[1:])
        found[f"{name}_gflops_as_plain_convolution"] = rate
        found[f"{name}_of_matrix_product"] = rate / found["matrix_product_gflops"]
    return found


def _all_cores(backend, images: np.ndarray) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(backend.workers) as pool:
        step = max(len(images) // backend.workers, 1)
        list(pool.map(backend.logits, [images[start : start + step] for start in range(0, len(images), step)]))


def _matrix_product(turns: int) -> float:
    """The best rate in GFLOP/s over a few sizes, so that the limit is not set too low."""
    rates = []
    for size in (768, 1024, 1536, 2048):
        one, other = torch.rand(size, size), torch.rand(size, size)
        for _ in range(2 + turns):
            start = time.perf_counter()
            one @ other
            rates.append(2 * size**3 / (time.perf_counter() - start) / 1e9)
    return max(rates)


def _multiplications(network) -> list[int]:
    """Of each convolution, as lungmask runs it, for one slice of 256 x 256."""
    counts = []

    def count(module, _inputs, output) -> None:
        counts.append(module.weight[0].numel() * output[0].numel())

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    with torch.inference_mode():
        network(torch.zeros(1, 1, 256, 256))
    for hook in hooks:
        hook.remove()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller scans, one turn")
    parser.add_argument("--json", action="store_true", help="nothing but the last line")
    parser.add_argument("--weights", type=Path, help="lungmask's weights (.pth) to use")
    parser.add_argument("--scan", type=Path, help="a scan of yours instead of a synthetic chest")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
        return
    turns = 1 if arguments.quick else 3
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = arguments.weights or wide_weights(folder / "wide.pth")
        chest = arguments.scan or write_phantom(folder / "chest.nii.gz", 24 if arguments.quick else 60, 5.0, seed=3)
        body = write_phantom(
            folder / "body.nii.gz", 100 if arguments.quick else 300, 6.0 if arguments.quick else 4.0, 4
        )
        report = {
            "chest": compare(["lungmask", *OURS], chest, weights, folder, turns),
            "whole_body": compare(["lungmask", "native", "torch"], body, weights, folder, 1),
            "network_alone": network_alone(weights, 3),
        }
    ratios = {
        "chest_native": report["chest"]["native"]["times_lungmask"],
        "chest_torch": report["chest"]["torch"]["times_lungmask"],
        "chest_default": report["chest"]["default"]["times_lungmask"],
        "chest_fast": report["chest"]["fast"]["times_lungmask"],
        "whole_body_native": report["whole_body"]["native"]["times_lungmask"],
        "whole_body_torch": report["whole_body"]["torch"]["times_lungmask"],
        "peak_memory_native": report["chest"]["native"]["peak_mib"] / report["chest"]["lungmask"]["peak_mib"],
        "peak_memory_torch": report["chest"]["torch"]["peak_mib"] / report["chest"]["lungmask"]["peak_mib"],
    }
    if not arguments.json:
        for part in ("chest", "whole_body"):
            for program, figures in report[part].items():
                print(f"{part:10} {program:9}", "  ".join(f"{k} {v:.5g}" for k, v in figures.items()))
        for name, figure in report["network_alone"].items():
            print(f"network    {name} {figure:.4g}")
    print(json.dumps({"ratios": {k: round(v, 3) for k, v in ratios.items()}, **report}))


if __name__ == "__main__":
    main()
