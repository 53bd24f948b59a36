"""What the README says in code runs as it stands there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner
from conftest import REPOSITORY

from datastore.image_files import read_mask
from datastore.nifti import write_nifti
from datastore.phantom import Phantom
from infers.served_model import ServedModel
from infers.unet import UNet
from lungapp.cli import main

README = (REPOSITORY / "README.md").read_text()
DOCS = "".join(path.read_text() for path in sorted((REPOSITORY / "docs").glob("*.md")))


def block_after(words: str) -> str:
    """The indented block that follows some words."""
    found = re.search(r"\n\n((?:    .*\n|\n)+)", README[README.index(words) :])
    assert found is not None
    return textwrap.dedent(found[1])


def test_the_python_example_runs(tmp_path: Path, phantom: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_nifti(phantom.image, Path("scan.nii.gz"))
    exec(block_after("In Python:"), {})
    assert read_mask(Path("lungs.nii.gz")).array.any()


def test_a_unet_is_served_as_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    CliRunner().invoke(main, ["init", "my-study"])
    torch.save(UNet(base_channels=2).state_dict(), "unet_r231.pth")
    commands = block_after("that holds the version's name:")
    program = re.search(r"python -c '(.*?)'", commands, re.DOTALL)
    assert program is not None
    Path("my-study/models/r231").mkdir()
    exec(program[1], {})
    assert "echo r231 > my-study/models/current" in commands
    Path("my-study/models/current").write_text("r231\n")
    model = ServedModel(Path("my-study/models"), "cpu")()
    assert model is not None and model.version.startswith("unet-")


@pytest.mark.parametrize("line", [line for line in (README + DOCS).splitlines() if line.startswith("    lungapp ")])
def test_every_command_in_the_documentation_exists(line: str) -> None:
    words = line.split("#")[0].split()[1:]
    names = [word for word in words[:2] if word.isalpha()]
    command = main.commands[names[0]]
    if isinstance(command, click.Group):
        command = command.commands[names[1]]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
