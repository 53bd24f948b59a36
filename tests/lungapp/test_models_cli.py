"""`lungapp models`: importing, listing, showing and publishing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import assert_refused, run, run_json
from conftest import PhantomProject
from networks import lungmask_file

from datastore.atomic import sha256_of
from datastore.labels import LUNGS
from datastore.nifti import write_nifti
from datastore.phantom import Phantom
from infers import load_model, published
from lungapp.app import LungApp
from lungapp.project import Project, init_project

LUNG_LABELS = "1 right_lung, 2 left_lung"
LOBE_LABELS = "1 left_upper_lobe, 2 left_lower_lobe, 3 right_upper_lobe, 4 right_middle_lobe, 5 right_lower_lobe"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return init_project(tmp_path / "study")


@pytest.fixture
def r231(tmp_path: Path) -> Path:
    """Named like the published file, but not it."""
    return lungmask_file(tmp_path / "unet_r231-d5d2fc3d.pth")


@pytest.fixture
def lobes(tmp_path: Path) -> Path:
    return lungmask_file(tmp_path / "unet_ltrclobes-3a07043d.pth", classes=6)


def test_an_import_says_what_the_file_is(own_models: Path, r231: Path, lobes: Path) -> None:
    result = run("models", "import", r231, lobes)
    assert result.exit_code == 0, result.output
    for words in (
        "R231  ",
        f"3: 0 background, {LUNG_LABELS}",
        f"unet_r231-d5d2fc3d.pth, SHA-256 {sha256_of(r231)}",
        "NOT the published R231",
        "LTRCLobes  ",
        f"6: 0 background, {LOBE_LABELS}",
        str(own_models / "LTRCLobes"),
    ):
        assert words in result.output
    assert sorted(path.name for path in own_models.iterdir()) == ["LTRCLobes", "R231"]


def test_the_published_file_is_known_by_its_checksum(
    own_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lungmask_file(tmp_path / "download.pth")
    real = published.PublishedModel("R231", f"unet_r231-{sha256_of(path)[:8]}.pth", LUNGS, "Trained on 231 scans.")
    monkeypatch.setattr(published, "PUBLISHED", (real,))
    (plain,) = run_json("models", "import", path)
    assert (plain["name"], plain["published"], plain["new"]) == ("R231", "R231", True)
    shown = run("models", "show", "r231").output
    assert f"The published R231: the SHA-256 begins with {sha256_of(path)[:8]} as published" in shown
    assert "R231  Trained on 231 scans." in shown


def test_an_import_in_json_is_what_the_manifest_says(own_models: Path, r231: Path) -> None:
    (plain,) = run_json("models", "import", r231)
    manifest = json.loads((own_models / "R231" / "manifest.json").read_text())
    assert {name: plain[name] for name in manifest} == manifest
    assert plain["origin"]["sha256"] == sha256_of(r231)
    assert (plain["published"], plain["new"], plain["served"]) == (None, True, False)
    assert plain["folder"] == str(own_models / "R231")


def test_the_same_file_again_is_no_failure_and_another_is_refused(own_models: Path, r231: Path, tmp_path: Path) -> None:
    run("models", "import", r231)
    again = run("models", "import", r231)
    assert again.exit_code == 0
    assert "R231 is there already, with the same weights" in again.output
    assert [item["new"] for item in run_json("models", "import", r231)] == [False]
    other = lungmask_file(tmp_path / "other.pth", seed=8)
    assert_refused(run("models", "import", other, "--name", "r231"), "is another model and is left as it is", "--name")
    assert run("models", "import", other, "--name", "mine").exit_code == 0
    assert [item["name"] for item in run_json("models", "list")] == ["mine", "R231"]


def test_one_bad_file_does_not_stop_the_others(own_models: Path, r231: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pth"
    bad.write_text("hello")
    result = run("models", "import", bad, tmp_path / "nowhere.pth", r231)
    assert result.exit_code == 1
    assert f"failed  {bad}: cannot be read as a state dict" in result.output
    assert "nowhere.pth: no such weights" in result.output
    assert (own_models / "R231").is_dir()
    assert_refused(run("models", "import", bad), "Error: ", "bad.pth: cannot be read as a state dict")


def test_what_six_classes_mean_is_said_on_import(own_models: Path, tmp_path: Path) -> None:
    path = lungmask_file(tmp_path / "mine.pth", classes=6)
    assert_refused(run("models", "import", path), "nothing says what they mean", "--labels lobes")
    assert_refused(run("models", "import", path, "--labels", "lungs"), "expected labels 1 to 5")
    (plain,) = run_json("models", "import", path, "--labels", "lobes")
    assert ", ".join(f"{item['value']} {item['name']}" for item in plain["structures"]) == LOBE_LABELS


@pytest.mark.parametrize(
    "arguments",
    [
        ["--name", "../x"],
        ["--name", "threshold"],
        ["--name", ""],
        ["--publish"],
        ["--labels", "ribs"],
        ["second.pth", "--name", "x"],
        ["second.pth", "--publish", "-p", "x"],
    ],
    ids=" ".join,
)
def test_wrong_usage_imports_nothing(own_models: Path, r231: Path, arguments: list[str]) -> None:
    result = run("models", "import", r231, *arguments)
    assert result.exit_code == 2, result.output
    assert not own_models.exists()


def test_an_empty_store_lists_nothing(own_models: Path) -> None:
    assert run_json("models", "list") == []
    assert f"0 models in {own_models}" in run("models", "list").output


def test_a_project_has_models_of_its_own(own_models: Path, project: Project, r231: Path) -> None:
    run("models", "import", r231, "-p", project.folder)
    assert not own_models.exists()
    assert [path.name for path in project.models.iterdir()] == ["R231"]
    (listed,) = run_json("models", "list", "-p", project.folder)
    line = run("models", "list", "-p", project.folder).output.splitlines()[0]
    assert line == f"R231  unet-{listed['sha256'][:12]}  3 classes: {LUNG_LABELS}  SHA-256 {listed['sha256'][:12]}"
    assert_refused(run("models", "list", "-p", project.folder.parent), "no lungapp project here")


def test_a_model_is_published_and_the_way_back_is_the_same(project: Project, r231: Path, tmp_path: Path) -> None:
    other = lungmask_file(tmp_path / "site-b.pth", seed=8)
    result = run("models", "import", r231, "-p", project.folder, "--publish")
    assert "served    yes" in result.output
    assert (project.models / "current").read_text() == "R231\n"
    run("models", "import", other, "-p", project.folder)
    assert "before: R231" in run("models", "publish", "Site-B", "-p", project.folder).output
    assert [(item["name"], item["served"]) for item in run_json("models", "list", "-p", project.folder)] == [
        ("R231", False),
        ("site-b", True),
    ]
    lines = run("models", "list", "-p", project.folder).output.splitlines()
    assert [line.endswith("  served") for line in lines[:2]] == [False, True]
    back = run_json("models", "publish", "r231", "-p", project.folder)
    assert (back["name"], back["before"], back["served"]) == ("R231", "site-b", True)


def test_a_running_app_serves_what_is_published(make_project: Callable[..., PhantomProject], r231: Path) -> None:
    made = make_project(1, shape=(4, 16, 16), spacing_mm=(40.0, 24.0, 24.0))
    app = LungApp("", str(made.project.folder), {})
    assert app.model_named("unet").version == load_model().version  # what comes with lungapp
    (plain,) = run_json("models", "import", r231, "-p", made.project.folder, "--publish")
    assert app.model_named("unet").version == plain["version"]
    app.registry.close()


def test_lobes_are_not_published_where_masks_are_lungs(project: Project, r231: Path, lobes: Path) -> None:
    run("models", "import", r231, "-p", project.folder, "--publish")
    assert run("models", "import", lobes, "-p", project.folder).exit_code == 0
    for arguments in (["import", lobes, "--publish"], ["publish", "LTRCLobes"]):
        assert_refused(
            run("models", *arguments, "-p", project.folder),
            f"LTRCLobes cannot be served: the project's masks are {LUNG_LABELS}, the model finds {LOBE_LABELS}",
        )
    assert (project.models / "current").read_text() == "R231\n"


def test_only_a_model_of_the_project_is_published(own_models: Path, project: Project, r231: Path) -> None:
    run("models", "import", r231)
    assert_refused(
        run("models", "publish", "R231", "-p", project.folder),
        "no model 'R231': expected bootstrap, fast, anatomy3, threshold, or",
    )
    assert_refused(run("models", "publish", "../x", "-p", project.folder), "no model '../x'")
    assert not (project.models / "current").exists()


def test_damaged_models_are_found(own_models: Path, r231: Path, lobes: Path) -> None:
    run("models", "import", r231, lobes)
    weights = own_models / "R231" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 1
    weights.write_bytes(content)
    assert_refused(run("models", "show", "R231"), "was changed after it was stored")
    assert run("models", "show", "LTRCLobes").exit_code == 0
    (own_models / "R231" / "manifest.json").write_text("{")
    result = run("models", "list")
    assert result.exit_code == 1
    assert "manifest.json: damaged" in result.output
    assert "LTRCLobes  unet-" in result.output


def test_scans_are_segmented_by_the_name_of_a_model(
    own_models: Path, r231: Path, phantom: Phantom, tmp_path: Path
) -> None:
    scan, out = tmp_path / "scan.nii.gz", tmp_path / "lungs.nii.gz"
    write_nifti(phantom.image, scan)
    assert_refused(
        run("segment", scan, "-o", out, "--model", "r231"),
        "no model 'r231'",
        "download it from https://github.com/JoHof/lungmask/releases/download/v0.0/unet_r231-d5d2fc3d.pth, then run "
        "`lungapp models import unet_r231-d5d2fc3d.pth`",
    )
    run("models", "import", r231)
    assert run("segment", scan, "-o", out, "--model", "r231", "--device", "cpu").exit_code == 0
    assert out.exists()


def test_bootstrap_takes_a_model_of_the_project(
    own_models: Path, make_project: Callable[..., PhantomProject], r231: Path
) -> None:
    folder = make_project(1, shape=(4, 16, 16), spacing_mm=(40.0, 24.0, 24.0)).project.folder
    (plain,) = run_json("models", "import", r231, "-p", folder)
    assert run("bootstrap", "--model", "R231", "--device", "cpu", "-p", folder).exit_code == 0
    (made,) = run_json("cases", "show", "0001", "-p", folder)["labels"]
    assert made["model"] == plain["version"]


def test_doctor_looks_at_the_models_of_a_project(project: Project, r231: Path) -> None:
    run("models", "import", r231, "-p", project.folder, "--publish")
    assert "all 1 models match their checksums; R231 is served" in run("doctor", "-p", project.folder).output
    (project.models / "current").write_text("R232")
    assert_refused(run("doctor", "-p", project.folder), "WRONG", "names no model here")
