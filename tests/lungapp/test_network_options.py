"""The options of `lungapp segment` that choose a network and how it segments."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import assert_refused, run, run_json
from networks import lungmask_file

from datastore.image_files import read_mask
from datastore.nifti import write_nifti
from datastore.phantom import chest_phantom


@pytest.fixture(scope="module")
def chest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scans") / "chest.nii.gz"
    write_nifti(chest_phantom(1, (10, 96, 96), (25.0, 4.5, 4.5)).image, path)
    return path


def test_the_fast_preset_finds_both_lungs(chest: Path, tmp_path: Path) -> None:
    (result,) = run_json("segment", chest, "-o", tmp_path / "lungs.nii.gz", "--preset", "fast")
    assert result["model"].startswith("unet-") and result["state"] == "lungs found"
    assert min(result["volumes_ml"].values()) > 1000


@pytest.mark.parametrize(
    ("options", "in_version"),
    [
        (("--postprocess", "paper"), "+postprocess=paper"),
        (("--postprocess", "lungmask"), "+postprocess=lungmask"),
        (("--smooth",), "+smooth=True"),
        (("--no-skip",), "+skip=False"),
        (("--backend", "torch", "--threads", "1"), ""),
    ],
)
def test_each_option_reaches_the_network(
    chest: Path, tmp_path: Path, options: tuple[str, ...], in_version: str
) -> None:
    (result,) = run_json("segment", chest, "-o", tmp_path / "lungs.nii.gz", "--preset", "fast", *options)
    assert result["model"].partition("+")[2] == in_version[1:]
    assert result["state"] == "lungs found"


def test_what_excludes_each_other_is_wrong_usage(chest: Path, tmp_path: Path) -> None:
    out = tmp_path / "lungs.nii.gz"
    for options, words in [
        (("--preset", "fast", "--model", "threshold"), "--preset chooses the model"),
        (("--preset", "fast", "--smooth", "--postprocess", "lungmask"), "--smooth works on the scan's pixels"),
    ]:
        result = run("segment", chest, "-o", out, *options)
        assert result.exit_code == 2 and words in result.output
    assert_refused(run("segment", chest, "-o", out, "--model", "threshold", "--fill", "fast"), "`threshold` is none")
    assert not out.exists()


def test_lobes_are_filled_from_a_second_network(chest: Path, tmp_path: Path) -> None:
    lobes = lungmask_file(tmp_path / "unet_ltrclobes-3a07043d.pth", classes=6, width=4)
    (result,) = run_json(
        "segment",
        chest,
        "-o",
        tmp_path / "lobes.nii.gz",
        "--model",
        lobes,
        "--fill",
        "fast",
        "--postprocess",
        "lungmask",
    )
    assert "-filled-by-" in result["model"]
    assert set(result["structures"]) == {
        "left_upper_lobe",
        "left_lower_lobe",
        "right_upper_lobe",
        "right_middle_lobe",
        "right_lower_lobe",
    }


def test_uncertainty_lies_beside_the_mask_and_in_its_report(chest: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    command = ("segment", chest.parent, "-o", out, "--preset", "fast")
    run(*command, "--uncertainty")
    entropy = read_mask(out / "chest.entropy.nii.gz")
    assert entropy.geometry == read_mask(out / "chest.nii.gz").geometry
    assert 20 < np.max(entropy.array) <= 100
    report = json.loads((out / "chest.nii.gz.json").read_text())
    for name in ("right_lung", "left_lung"):
        assert 0 < report["uncertainty"][name]["entropy"] < 0.5
        assert 0 < report["uncertainty"][name]["disagreement"] < 0.5
    assert "0 segmented, 1 exists already" in run(*command, "--uncertainty").output


def test_a_mask_without_the_uncertainty_that_is_asked_for_is_not_taken_for_done(chest: Path, tmp_path: Path) -> None:
    out = tmp_path / "masks"
    command = ("segment", chest.parent, "-o", out, "--preset", "fast")
    run(*command)
    assert_refused(run(*command, "--uncertainty"), "made with no options, asked for uncertainty")


def test_a_model_without_probabilities_has_no_uncertainty(chest: Path, tmp_path: Path) -> None:
    result = run("segment", chest, "-o", tmp_path / "lungs.nii.gz", "--uncertainty", "--model", "threshold")
    assert_refused(result, "uncertainty needs a network, got the model threshold-1")
