"""`lungapp pretrain`: what it refuses, and once all the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import run, run_json

from infers.weights import load_weights


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cohort", "lola", "--out", "x"], "'lola' is not one of 'anatomy3', 'routine'"),
        (["--out", "x"], "Missing option '--cohort'"),
        (["--cohort", "routine"], "Missing option '--out'"),
        (["--cohort", "routine", "--out", "x", "--patients", "1"], "1 is not in the range x>=2"),
        (["--cohort", "routine", "--out", "x", "--steps", "0"], "0 is not in the range x>=1"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("pretrain", *arguments)
    assert result.exit_code == 2 and words in result.output
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_one_command_makes_weights_metrics_and_card(tmp_path: Path) -> None:
    out = tmp_path / "first"
    arguments = ["pretrain", "--cohort", "anatomy3", "--out", out, "--patients", 2, "--steps", 1]
    arguments += ["--base-channels", 2, "--seed", 4, "--held-out", 0]
    made = run_json(*arguments)
    assert (out / "weights.safetensors").stat().st_size < 10e6
    assert made["sha256"] == load_weights(out / "weights.safetensors").sha256
    assert made["pretraining"] | {"cohort": "anatomy3", "seed": 4, "base_channels": 2} == made["pretraining"]
    assert "--cohort anatomy3 --out OUT --patients 2 --steps 1" in made["command"]
    again = run("pretrain", *arguments[1:])
    assert again.exit_code == 0 and "step" not in again.output  # all of it is there already
    assert load_weights(out / "weights.safetensors").sha256 == made["sha256"]
