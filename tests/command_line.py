"""Runs the program in-process, on throw-away projects with a selection that small series can pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from lungapp.cli import main
from lungapp.project import Project, init_project, open_project


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def run_json(*arguments: object, exit_code: int = 0) -> Any:
    """What a command prints with --json."""
    result = run(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def assert_refused(result: Result, *words: str) -> None:
    """Exit code 1 and one line of reason that has these words, no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    for word in words:
        assert word in result.output
    assert "Traceback" not in result.output


def small_project(folder: Path, min_slices: int = 5) -> Project:
    """A project whose selection takes series of so few slices."""
    init_project(folder)
    return with_min_slices(folder, min_slices)


def with_min_slices(folder: Path, min_slices: int) -> Project:
    """A project after its selection was changed."""
    settings = folder / "lungapp.toml"
    lines = settings.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("min_slices"))
    lines[at] = f"min_slices = {min_slices}"
    settings.write_text("\n".join(lines) + "\n")
    return open_project(folder)
