"""Two processes write at once and are killed with -9 at any moment: nothing that they acknowledged is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY

from datastore.atomic import sha256_of
from datastore.records import Kind
from datastore.registry import Registry

WRITERS = 2
SUBMISSIONS = 200


@pytest.mark.slow
def test_two_killed_writers_lose_and_tear_nothing(database_url: str, tmp_path: Path) -> None:
    moments = random.Random(3)
    acknowledged: list[str] = []
    script = Path(__file__).with_name("working_process.py")
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "OMP_NUM_THREADS": "1"}
    Registry.open(database_url, tmp_path / "labels").close()
    submitted = kills = 0
    while submitted < SUBMISSIONS:
        kills += WRITERS
        writers = [
            subprocess.Popen(
                [sys.executable, str(script), database_url, str(tmp_path), f"writer-{kills + number}"],
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for number in range(WRITERS)
        ]
        seen: list[str] = []
        assert writers[0].stdout is not None
        for _ in range(moments.randint(20, 120)):
            seen.append(writers[0].stdout.readline())
        time.sleep(moments.uniform(0, 0.03))  # the moment of the crash, not a wait for something
        for writer in writers:
            writer.kill()
        for writer in writers:
            output, _ = writer.communicate()
            seen += [line for line in output.splitlines(keepends=True) if line.endswith("\n")]
        submitted += sum(line.startswith("label") for line in seen)
        acknowledged += seen

    registry = Registry.open(database_url, tmp_path / "labels")
    words = [line.split() for line in acknowledged]
    cases = [word[1] for word in words if word[0] == "case"]
    assert len(cases) == len(set(cases))
    assert set(cases) <= set(registry.case_ids())
    labels = {word[1]: word[2] for word in words if word[0] == "label"}
    assert len(labels) == submitted
    for label_id, digest in labels.items():
        stored = registry.label(label_id)
        assert stored.sha256 == digest == sha256_of(stored.path)
    for label_id in (word[1] for word in words if word[0] == "accepted"):
        assert registry.label(label_id).kind is Kind.ACCEPTED
    leased = [word[1] for word in words if word[0] == "lease"]
    assert len(leased) == len(set(leased)), "no case was given out twice: each was submitted or is still held"
    assert not [fault.what for fault in registry.check() if fault.is_loss]
    for case_id in registry.case_ids():
        numbers = [item.number for item in registry.labels(case_id)]
        assert numbers == list(range(1, len(numbers) + 1))
    registry.close()
