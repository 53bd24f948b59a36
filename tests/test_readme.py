"""What the README says in code runs as it stands there."""

from __future__ import annotations

import re
import shlex
import textwrap
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from conftest import REPOSITORY
from networks import lungmask_file

from datastore.image_files import read_mask
from datastore.nifti import write_nifti
from datastore.phantom import Phantom
from infers.published import PUBLISHED
from infers.served_model import ServedModel
from lungapp.cli import main

README = (REPOSITORY / "README.md").read_text()
DOCS = "".join(path.read_text() for path in sorted((REPOSITORY / "docs").glob("*.md")))


def block_after(words: str, text: str = README) -> str:
    """The indented block that follows some words."""
    found = re.search(r"\n\n((?:    .*\n|\n)+)", text[text.index(words) :])
    assert found is not None
    return textwrap.dedent(found[1])


def test_the_python_example_runs(tmp_path: Path, phantom: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_nifti(phantom.image, Path("scan.nii.gz"))
    exec(block_after("In Python:"), {})
    assert read_mask(Path("lungs.nii.gz")).array.any()


def test_the_engines_python_example_runs(
    tmp_path: Path, phantom: Phantom, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_nifti(phantom.image, Path("scan.nii.gz"))
    exec(block_after("## From Python", (REPOSITORY / "docs" / "inference.md").read_text()), {})
    assert read_mask(Path("smooth.nii.gz")).array.any()
    assert "disagreement" in capsys.readouterr().out


def test_the_synthetic_cohorts_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(block_after("In Python, without files:", (REPOSITORY / "docs" / "phantoms.md").read_text()), {})
    assert "routine-0002" in capsys.readouterr().out


def test_a_unet_is_served_as_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(main, ["init", "my-study"])
    lungmask_file(Path("unet_r231-d5d2fc3d.pth"))
    commands = [shlex.split(line, comments=True) for line in block_after("the project:").splitlines() if line]
    assert [command[:3] for command in commands] == [
        ["lungapp", "models", verb] for verb in ("import", "list", "publish")
    ]
    for command in commands:
        result = CliRunner().invoke(main, command[1:])
        assert result.exit_code == 0, result.output
    model = ServedModel(Path("my-study/models"), "cpu")()
    assert model is not None and model.version.startswith("unet-")


def test_the_published_files_are_documented() -> None:
    for model in PUBLISHED:
        assert f"| `{model.name}` | `{model.file_name}` |" in DOCS
        assert f"<{model.url}>" in DOCS


@pytest.mark.parametrize("line", [line for line in (README + DOCS).splitlines() if line.startswith("    lungapp ")])
def test_every_command_in_the_documentation_exists(line: str) -> None:
    words = line.split("#")[0].split()[1:]
    names = [word for word in words[:2] if word.isalnum()]
    command = main.commands[names[0]]
    if isinstance(command, click.Group):
        command = command.commands[names[1]]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
