"""The command, in little: two steps on two phantoms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from infers.weights import load_weights
from trainers.fast_preset import METRICS_FILE, WEIGHTS_FILE, main


@pytest.mark.slow
def test_the_command_trains_measures_and_writes(tmp_path: Path) -> None:
    arguments = ["--out", str(tmp_path), "--steps", "2", "--phantoms", "2"]
    arguments += ["--held-out", "1", "--base-channels", "8", "--seed", "3"]
    main(arguments)
    weights = load_weights(tmp_path / WEIGHTS_FILE)
    assert weights.network.base_channels == 8
    assert all(torch.equal(tensor, tensor.half().float()) for tensor in weights.network.parameters())
    metrics = json.loads((tmp_path / METRICS_FILE).read_text())
    assert metrics["command"] == "python -m trainers.fast_preset " + " ".join(arguments)
    assert metrics["training"]["seed"] == 3 and metrics["training"]["steps"] == 2
    assert metrics["training_phantoms"]["phantoms"] == 2 and metrics["sha256"] == weights.sha256
    assert [set(row) for row in metrics["held_out_phantoms"]] == [{"seed", "right_dice", "left_dice"}]
