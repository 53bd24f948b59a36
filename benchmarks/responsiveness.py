"""How long `GET /info/` takes while another client's inference runs: `lungapp serve` against the stock server.

Both servers run the same app on the same project on this machine, one after the other. The last line is JSON.

    python benchmarks/responsiveness.py [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from datastore.nifti import write_nifti
from datastore.phantom import chest_phantom
from lungapp.binding import bind
from lungapp.ingest import ingest
from lungapp.project import init_project

REPOSITORY = Path(__file__).resolve().parents[1]


def free_port() -> int:
    with bind("127.0.0.1", 0) as listener:
        return int(listener.getsockname()[1])


def wait_for(address: str) -> None:
    while True:
        try:
            urllib.request.urlopen(f"{address}/info/", timeout=60).read()
            return
        except urllib.error.URLError:
            time.sleep(0.2)


def measure(command: list[str], address: str, cases: int) -> list[float]:
    """Seconds of each `/info/` that was asked while a case was being segmented."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=REPOSITORY)
    try:
        wait_for(address)
        seconds: list[float] = []
        for number in range(1, cases + 1):
            running = threading.Event()

            def infer(number: int = number, running: threading.Event = running) -> None:
                request = urllib.request.Request(f"{address}/infer/threshold?image={number:04d}", method="POST")
                urllib.request.urlopen(request, timeout=600).read()
                running.set()

            thread = threading.Thread(target=infer)
            thread.start()
            time.sleep(0.3)  # the inference is under way
            while not running.is_set():
                start = time.perf_counter()
                urllib.request.urlopen(f"{address}/info/", timeout=600).read()
                seconds.append(time.perf_counter() - start)
            thread.join()
        return seconds
    finally:
        server.terminate()
        server.wait(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and smaller scans")
    parser.add_argument("--json", action="store_true", help="print the JSON line only")
    arguments = parser.parse_args()
    cases, shape, spacing_mm = (
        (2, (150, 320, 320), (2.0, 1.2, 1.2)) if arguments.quick else (4, (300, 512, 512), (1.0, 0.75, 0.75))
    )
    results: dict[str, list[float]] = {}
    for name in ("lungapp serve", "monailabel start_server"):
        with tempfile.TemporaryDirectory() as folder:
            project = init_project(Path(folder) / "study")
            scans = Path(folder) / "scans"
            scans.mkdir()
            for seed in range(1, cases + 1):
                image = chest_phantom(seed, shape=shape, spacing_mm=spacing_mm).image
                write_nifti(image, scans / f"{seed}.nii.gz", compression=1)
            registry = project.registry()
            ingest(registry, [scans], lambda: None)
            registry.close()
            port = free_port()
            study, where = str(project.folder), ["--port", str(port)]
            ours = [sys.executable, "-m", "lungapp", "serve", "-p", study, *where]
            stock = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(REPOSITORY / "lungapp")]
            command = ours if name == "lungapp serve" else [*stock, "--studies", study, "--host", "127.0.0.1", *where]
            results[name] = measure(command, f"http://127.0.0.1:{port}", cases)
    medians = {name: statistics.median(seconds) for name, seconds in results.items()}
    if not arguments.json:
        for name, seconds in results.items():
            print(
                f"{name}: median {medians[name]:.3f} s, worst {max(seconds):.3f} s of {len(seconds)} requests to "
                "/info/ during inference"
            )
    ratio = medians["monailabel start_server"] / medians["lungapp serve"]
    print(json.dumps({"ratios": {"info_during_inference": round(ratio, 2)}, "median_seconds": medians}))


if __name__ == "__main__":
    main()
