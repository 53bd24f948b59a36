"""The loop that made R231, on small phantoms: annotators correct, a round learns, the gate decides, masks improve."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, PhantomProject, free_port, live_server, our_server
from phantom_studies import accept_truth, phantom_study, sick_phantom

with warnings.catch_warnings():  # its `import cgi`
    warnings.simplefilter("ignore", DeprecationWarning)
    from monailabel.client import MONAILabelClient

from datastore.image_files import read_mask, write_mask
from datastore.records import Kind, Split
from datastore.registry import CaseFilter, Registry
from datastore.round_records import Round, RoundState
from infers.metrics import mean_score, score
from infers.model_store import ModelStore
from infers.publishing import publish
from infers.weights import ANATOMY3

CORRECTED, LEFT_OPEN, LOCKED = 25, 3, 6
ANNOTATORS = ("ann", "bob", "eve")
SHORT = {"epochs": 3, "steps_per_epoch": 12, "with_lung": 4, "without_lung": 1, "patience": 0}
RISE = 0.15  # of the mean Dice over the locked cases
PATIENCE_SECONDS = 250


@pytest.fixture
def made(tmp_path: Path) -> PhantomProject:
    """Sick phantoms, and a served network that saw healthy lungs alone: where the paper's loop begins."""
    sick = {"make": sick_phantom, "accept_without_review": "true"}
    made = phantom_study(tmp_path, CORRECTED + LEFT_OPEN, locked=LOCKED, **sick, **SHORT)  # type: ignore[arg-type]
    registry, store = made.project.registry(), ModelStore(made.project.models)
    for case_id in registry.case_ids(CaseFilter(split=Split.VALIDATION)):
        accept_truth(registry, made, case_id)
    store.add(ANATOMY3, "healthy")
    publish(registry, store, "healthy")
    registry.close()
    return made


def until(seen: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := seen()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def correct(made: PhantomProject, address: str, name: str, folder: Path, left: threading.Semaphore) -> None:
    """Next Sample, Run, Submit Label, until enough are corrected."""
    folder.mkdir()
    client = MONAILabelClient(address, str(folder), client_id=name)
    while left.acquire(blocking=False):
        case_id = client.next_sample("random", {})["id"]
        mask = folder / f"{case_id}.nii.gz"
        write_mask(made.phantoms[case_id].lungs, mask)
        answer = client.save_label(case_id, str(mask), params={"label_info": []})
        assert answer["image"] == case_id


def ended_round(registry: Registry, number: int) -> Round:
    return until(lambda: seen if (seen := registry.round(number)).has_ended else None)  # type: ignore[no-any-return]


def mean_dice(judged: Round, whose: str) -> float:
    """Over all locked cases and both lungs, as the round's judging has it."""
    rows = judged.metrics["judging"]["table"]
    return float(next(row for row in rows if (row["tag"], row["lung"], row["metric"]) == ("", "", "dice"))[whose])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_corrections_start_one_round_whose_model_is_served_and_a_sabotaged_one_is_held_back(
    made: PhantomProject, tmp_path: Path
) -> None:
    registry, port = made.project.registry(), free_port()
    with live_server(our_server(made.project, port), port, tmp_path / "server.log", worker=True) as server:
        left = threading.Semaphore(CORRECTED)
        working = [
            threading.Thread(target=correct, args=(made, server.address, name, tmp_path / name, left))
            for name in ANNOTATORS
        ]
        for annotator in working:
            annotator.start()
        for annotator in working:
            annotator.join()
        (round_1,) = until(registry.rounds)
        ended = ended_round(registry, round_1.number)
        assert ended.state is RoundState.PUBLISHED, ended.decision
        assert ended.trigger == f"{CORRECTED} corrections" and len(ended.label_ids) == CORRECTED
        assert {registry.label(label_id).client_id for label_id in ended.label_ids} == set(ANNOTATORS)
        assert (ended.champion, ended.candidate) == ("healthy", "round-0001")
        assert mean_dice(ended, "candidate") >= mean_dice(ended, "champion") + RISE, ended.decision

        # the very next Run, without a restart, and better on a case that nobody has seen
        case_id = registry.case_ids(CaseFilter(offered=True))[0]
        served = ModelStore(made.project.models).model("round-0001")
        slicer = MONAILabelClient(server.address, str(tmp_path), client_id="slicer-ann")
        mask, _ = slicer.infer("unet", case_id, {"result_extension": ".nrrd"})
        lungs = made.phantoms[case_id].lungs
        assert (mean_score(score(lungs, read_mask(Path(mask))), "dice") or 0) > mean_dice(ended, "champion") + RISE
        assert server.process.poll() is None
        until(lambda: registry.round(1).refreshed_at)
        masks = [registry.labels(open_case)[-1] for open_case in registry.case_ids(CaseFilter(offered=True))]
        assert [(mask.kind, mask.model) for mask in masks] == [(Kind.PRELIMINARY, served.version)] * LEFT_OPEN
        assert slicer.info()["train_stats"]["unet"]["state"] == "published"

        # a round of a learning rate a thousand times too high
        environment = {**os.environ, "LUNGAPP_TRAINING__LEARNING_RATE": "10"}
        retrain = [sys.executable, "-m", "lungapp", "retrain", "--wait", "-p", str(made.project.folder)]
        said = subprocess.run(retrain, env=environment, cwd=REPOSITORY, capture_output=True, text=True)
        sabotaged = registry.round(2)
        assert sabotaged.state is RoundState.HELD_BACK, (said, sabotaged.decision)
        assert said.returncode == 0 and "round 2 held back: the mean Dice" in said.stdout
        assert mean_dice(sabotaged, "candidate") < mean_dice(sabotaged, "champion")
        assert ModelStore(made.project.models).served() == "round-0001"
        mask_again, _ = slicer.infer("unet", case_id, {"result_extension": ".nrrd"})
        assert (read_mask(Path(mask_again)).array == read_mask(Path(mask)).array).all()
        assert [one.number for one in registry.rounds()] == [1, 2]
    registry.close()
