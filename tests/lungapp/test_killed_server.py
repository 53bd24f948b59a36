"""A server that is killed with -9 in the middle of submissions loses nothing that it acknowledged."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
from conftest import REPOSITORY, PhantomProject, free_port

from datastore.atomic import sha256_of
from datastore.image_files import read_mask, write_mask

KILLS = 20


@pytest.mark.slow
def test_every_acknowledged_label_survives_twenty_kills(
    make_project: Callable[..., PhantomProject], tmp_path: Path
) -> None:
    made = make_project(2, shape=(24, 96, 96), spacing_mm=(10.0, 4.0, 4.0))
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    delays = random.Random(5)
    acknowledged: dict[str, np.ndarray] = {}
    script = Path(__file__).with_name("forking_server.py")
    starter = subprocess.Popen(
        [sys.executable, str(script), str(made.project.folder), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "LUNGAPP_ROUNDS__WORKER": "false"},
    )
    assert starter.stdin is not None and starter.stdout is not None

    def submit(worker: int, round_number: int) -> None:
        case_id = f"{worker + 1:04d}"
        lungs = made.phantoms[case_id].lungs
        for attempt in range(100):
            array = lungs.array.copy()
            array.reshape(-1)[np.random.default_rng([round_number, worker, attempt]).integers(array.size, size=50)] = 0
            path = tmp_path / f"worker-{worker}.nii.gz"
            write_mask(lungs.with_array(array), path, overwrite=True)
            try:
                with open(path, "rb") as file:
                    answer = requests.put(
                        f"{address}/datastore/label?image={case_id}", files={"label": (path.name, file)}, timeout=30
                    )
            except requests.RequestException:
                return
            assert answer.status_code == 200, answer.text
            acknowledged[answer.json()["label"]] = array

    try:
        assert starter.stdout.readline().strip() == "imported"
        for round_number in range(KILLS):
            starter.stdin.write("start\n")
            starter.stdin.flush()
            child = int(starter.stdout.readline())
            _wait_until_it_answers(address)
            workers = [threading.Thread(target=submit, args=(worker, round_number)) for worker in range(2)]
            for worker in workers:
                worker.start()
            time.sleep(delays.uniform(0.02, 0.4))  # the moment of the crash, not a wait for something
            os.kill(child, signal.SIGKILL)
            for worker in workers:
                worker.join()
            assert starter.stdout.readline().strip() == "gone"
    finally:
        starter.stdin.close()
        starter.wait(30)

    assert len(acknowledged) >= KILLS
    registry = made.project.registry()
    stored = {label.id: label for case_id in made.phantoms for label in registry.labels(case_id)}
    for label_id, array in acknowledged.items():
        label = stored[label_id]
        assert sha256_of(label.path) == label.sha256
        np.testing.assert_array_equal(read_mask(label.path).array, array)
    for fault in registry.check():  # crashed submissions may leave files, never a row without its file
        assert not fault.is_loss
    registry.close()


def _wait_until_it_answers(address: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            requests.get(f"{address}/auth/", timeout=10)
            return
        except requests.RequestException:
            time.sleep(0.02)
    pytest.fail("the server did not answer within a minute")
